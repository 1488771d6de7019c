//! Leaving the pools through conftool: real processes, a real etcd by both of its ways, and PyBals that follow it, or do not.

mod confirming;
mod moving;
mod pybal;
mod site;
mod theirs;
