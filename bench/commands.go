//go:build linux

package main

import (
	"path/filepath"
	"strings"
)

// The names of the commands, as they are printed.
const (
	plain           = "check_network_connections"
	recommended     = plain + " with thresholds"
	closeWait       = plain + " --conn-status=close_wait"
	byLocalPort     = plain + " --by local-port"
	byPeerAddress   = plain + " --by remote-address"
	byProcess       = plain + " --by process"
	violation       = plain + " --by process -w 1"
	minIdle         = plain + " --min-idle 1h"
	localPort       = plain + " --local-port 443"
	localPortByPeer = plain + " --local-port 443 --by remote-address"
	allNamespaces   = plain + " --netns all"
	ss              = "ss -tuan"
	ssLocalPort     = "ss -tan sport = :443"
	netstat         = "netstat -tuan"
	psutil          = "Python, psutil"
	gopsutil        = "Go, gopsutil Connections"
	iterator        = "BPF iterator"
)

// before marks a call of the program that --baseline names.
const before = "before: "

// thresholds are those of the call that the README recommends, with numbers
// that none of the loads violates.
const thresholds = "-w 2000000,close_wait=200000,time_wait=200000,ephemeral=80 -c close_wait=300000,ephemeral=95,total=2000000"

// psutilProgram does with psutil what gopsutil/main.go does with gopsutil.
const psutilProgram = `import collections, psutil; print(collections.Counter((c.family, c.type, c.status) for c in psutil.net_connections("inet")))`

const (
	// variantSockets is the number of established sockets with which the check
	// is measured with other flags than none.
	variantSockets = 100_000
	// filterSockets is the same for filters that no socket passes.
	filterSockets = 500_000
)

// A command is one of those that are compared.
type command struct {
	name      string
	arguments []string
	code      int // the exit code that it ends with
}

// measuredWith returns the names of the commands that are measured with a
// load. The first is the one that the others are compared with.
func measuredWith(l load) []string {
	switch l.kind {
	case proxy, leak, incoming:
		return []string{plain, recommended, ss}
	case outgoing:
		return []string{plain, recommended, byLocalPort, ss}
	case matches:
		return []string{plain, localPort, localPortByPeer, ssLocalPort}
	case namespaces:
		return []string{plain, allNamespaces}
	}
	list := []string{plain, ss, netstat, psutil, gopsutil, iterator}
	switch l.sockets {
	case variantSockets:
		list = append(list, closeWait, byLocalPort, byPeerAddress, byProcess, violation, minIdle)
	case filterSockets:
		list = append(list, localPort, ssLocalPort)
	}
	return list
}

// commands returns what is measured with a load, each call of the check
// followed by the same of the baseline, if there is one.
func (b *built) commands(l load) []command {
	var list []command
	for _, name := range measuredWith(l) {
		c := b.command(name)
		list = append(list, c)
		if isCheck(name) && b.baseline != "" {
			c.name = before + name
			c.arguments = append([]string{b.baseline}, c.arguments[1:]...)
			list = append(list, c)
		}
	}
	return list
}

// ofCheck tells the calls of the check, old and new, from the other commands.
func ofCheck(name string) bool {
	return isCheck(strings.TrimPrefix(name, before))
}

// isCheck is the same without those of the old one.
func isCheck(name string) bool {
	return strings.HasPrefix(name, plain)
}

// command returns how a command is called. The programs that were built are in
// the folder, the others are those of the system: psutil is that of the
// distribution, not of some other Python earlier in PATH.
func (b *built) command(name string) command {
	c := command{name: name, arguments: strings.Fields(name)}
	switch {
	case name == psutil:
		c.arguments = []string{"/usr/bin/python3", "-c", psutilProgram}
	case name == gopsutil:
		c.arguments = []string{filepath.Join(b.folder, "gopsutil")}
	case name == iterator:
		c.arguments = []string{filepath.Join(b.folder, "bpfcount")}
	case name == recommended:
		c.arguments = append([]string{filepath.Join(b.folder, plain)}, strings.Fields(thresholds)...)
	case isCheck(name):
		c.arguments[0] = filepath.Join(b.folder, plain)
	}
	if name == violation {
		c.code = 1
	}
	return c
}
