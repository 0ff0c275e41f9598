//go:build !linux

package main

import (
	"context"
	"iter"
	"slices"

	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// liveParts returns the selected sockets of this host, in one part: gopsutil
// reads them all at once.
func liveParts(ctx context.Context, config Config) iter.Seq[part] {
	read := gopsutilSource(ctx, config)
	return slices.Values([]part{{names: processNames{}, sources: []source{{sourceGopsutil, read("")}}}})
}

// readConnections returns gopsutil's records.
func readConnections(ctx context.Context, kind string, _ needs) ([]net.ConnectionStat, error) {
	return net.ConnectionsWithContext(ctx, kind)
}

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
