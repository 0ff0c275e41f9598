//go:build darwin || freebsd || linux

package main

import (
	"slices"
	"strings"
)

// keepers hold sockets for services, as process 1 of the host.
var keepers = []string{"systemd", "init", "launchd"}

// sharedBy returns the processes as the owner of a socket. A keeper, and processes
// without a name, count only where there is no other holder.
func sharedBy(processes []holder) (all owner) {
	var names []string
	for _, h := range processes {
		if isKeeper := h.pid == 1 && slices.Contains(keepers, h.name); !isKeeper && h.name != hidden {
			all.holders = append(all.holders, h)
			names = append(names, h.name)
		}
	}
	if len(names) == 0 {
		return owner{process: processes[0].name, holders: processes[:1]}
	}
	slices.Sort(names)
	all.process = strings.Join(slices.Compact(names), "+")
	return all
}
