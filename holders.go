//go:build darwin || freebsd || linux

package main

import (
	"slices"
	"strings"
)

// sharedBy returns the processes as the owner of a socket. The first one of the
// host only counts alone: it keeps sockets for services.
func sharedBy(processes []holder) (all owner) {
	var names []string
	for _, h := range processes {
		if h.pid != 1 && h.name != hidden {
			all.Holders = append(all.Holders, h)
			names = append(names, h.name)
		}
	}
	if len(names) == 0 {
		return owner{Process: processes[0].name, Holders: processes[:1]}
	}
	slices.Sort(names)
	all.Process = strings.Join(slices.Compact(names), "+")
	return all
}
