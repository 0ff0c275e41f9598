//go:build !linux

package main

import (
	"context"

	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// gopsutilDumps returns the one dump that gopsutil reads for the tallies.
func gopsutilDumps(ctx context.Context, log debugLog, tallies []*tally) []dump {
	from := newGopsutilReader(ctx, log, tallies, (&owners{found: map[int32]owner{}}).resolve)
	return []dump{{sources: []source{{sourceGopsutil, from.reading(socketTypes, hidden)}}}}
}

// readConnections returns gopsutil's records.
func readConnections(ctx context.Context, kind string, _ fields) ([]net.ConnectionStat, error) {
	return net.ConnectionsWithContext(ctx, kind)
}

// owners asks gopsutil for the name and the user of a process, once.
type owners struct{ found map[int32]owner }

func (p *owners) resolve(s *Socket) {
	known, isKnown := p.found[s.Pid]
	if !isKnown {
		known = owner{Process: ask(s.Pid, (*process.Process).Name), User: ask(s.Pid, (*process.Process).Username)}
		known.Holders = []holder{{s.Pid, known.Process, known.User}}
		p.found[s.Pid] = known
	}
	s.owner = known
}

func ask(pid int32, about func(*process.Process) (string, error)) string {
	p, err := process.NewProcess(pid)
	if err != nil {
		return hidden
	}
	text, err := about(p)
	if err != nil || text == "" {
		return hidden
	}
	return givenName(text)
}
