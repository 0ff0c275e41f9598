//go:build !linux

package main

import (
	"context"

	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// host is all of this host: other systems than Linux have nothing to choose.
type host struct{}

func findHost(Config) (host, error) { return host{}, nil }

// parts returns the selected sockets, in one part: gopsutil reads them all at
// once.
func (host) parts(ctx context.Context, config Config) []part {
	read := gopsutilSource(ctx, config)
	return []part{{names: processNames{}, sources: []source{{sourceGopsutil, read("")}}}}
}

// readConnections returns gopsutil's records.
func readConnections(ctx context.Context, kind string, _ needs) ([]net.ConnectionStat, error) {
	return net.ConnectionsWithContext(ctx, kind)
}

// isSureUser tells whether a user is shown as himself and as nobody else.
func isSureUser(string) bool { return true }

// processNames asks gopsutil for the name and the user of a process.
type processNames struct{}

func (processNames) process(pid int32) string {
	return ask(pid, (*process.Process).Name)
}

func (processNames) user(_ int64, pid int32) string {
	return ask(pid, (*process.Process).Username)
}

func ask(pid int32, question func(*process.Process) (string, error)) string {
	p, err := process.NewProcess(pid)
	if err != nil {
		return unseen
	}
	answer, err := question(p)
	if err != nil || answer == "" {
		return unseen
	}
	return outsideName(answer)
}
