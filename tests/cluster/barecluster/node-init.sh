#!/bin/bash
# PID 1 of a node: runs in its network, mount, pid, uts and ipc namespaces. kill -9 of it is a power cut: the kernel
# then kills everything in the pid namespace, and the mounts go with the last process.
set -euo pipefail
name=$1 address=$2 directory=$3 binaries=$4 pause=$5 disk=("${@:6}")

hostname "$name"
mount --make-rprivate /

# A new /sys, for this network namespace's interfaces; it hides the cgroup mounts, so they are carried over.
mkdir -p "$directory/cgroup"
mount --rbind /sys/fs/cgroup "$directory/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroup" /sys/fs/cgroup
umount --recursive --lazy "$directory/cgroup"
mount -t proc proc /proc

# The kubelet writes these at its start. They belong to the whole machine, so it gets files instead.
for setting in vm/overcommit_memory:1 vm/panic_on_oom:0 kernel/panic:10 kernel/panic_on_oops:1; do
  fake=$directory/sysctl/${setting%:*}
  mkdir -p "${fake%/*}"
  echo "${setting#*:}" > "$fake"
  mount --bind "$fake" "/proc/sys/${setting%:*}"
done
mount --bind "$directory/boot-id" /proc/sys/kernel/random/boot_id # a boot of this node, not of the machine
echo 1 > /proc/sys/net/ipv4/ip_forward

# The machine's /etc and /var/lib, but what is written to them stays here; then the node's own directories.
for tree in etc var/lib; do
  mount -t overlay -o "lowerdir=/$tree,upperdir=$directory/upper/$tree,workdir=$directory/work/$tree" overlay "/$tree"
done
for path in "${disk[@]}"; do
  mkdir -p "/$path"
  mount --bind "$directory/disk/$path" "/$path"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
mount --make-rshared / # so that a pod's mountPropagation works, as on a machine with systemd
touch "$directory/mounted"

containerd --config "$directory/containerd.toml" --log-level warn >> /var/log/containerd.log 2>&1 &
until ctr version > /dev/null 2>&1; do sleep 0.1; done
"$binaries/kubelet" --config="$directory/kubelet.yaml" --kubeconfig="$directory/kubelet.conf" --node-ip="$address" \
  --hostname-override="$name" --v=2 >> /var/log/kubelet.log 2>&1 &
"$binaries/kube-proxy" --config="$directory/kube-proxy.yaml" >> /var/log/kube-proxy.log 2>&1 &
ctr -n k8s.io images import --no-unpack "$pause" > /dev/null

while :; do
  wait -n || true # reaps: orphans of the node end up here
  sleep 1
done
