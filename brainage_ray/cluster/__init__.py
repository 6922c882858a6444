"""From a laptop to a cluster that `ray up` started: ssh, tunnels, jobs on its head."""

from brainage_ray.cluster.doctor import examine_cluster
from brainage_ray.cluster.follow import Follower, exit_code, wait_for_end
from brainage_ray.cluster.head import Head, find_head
from brainage_ray.cluster.pages import Page, answering, find_pages, open_pages
from brainage_ray.cluster.remote import remote_pull, remote_status
from brainage_ray.cluster.submit import WORKSPACE, Order, jobs_of, running, submit
from brainage_ray.cluster.tree import Tree, find_tree
from brainage_ray.cluster.tunnel import Tunnel

__all__ = [
    "WORKSPACE",
    "Follower",
    "Head",
    "Order",
    "Page",
    "Tree",
    "Tunnel",
    "answering",
    "examine_cluster",
    "exit_code",
    "find_head",
    "find_pages",
    "find_tree",
    "jobs_of",
    "open_pages",
    "remote_pull",
    "remote_status",
    "running",
    "submit",
    "wait_for_end",
]
