//go:build !linux

package main

import (
	"context"
	"fmt"

	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// host reads the sockets of this host.
type host struct {
	source string // one of sources
	log    debugLog
}

func openHost(config *options) (*host, error) {
	if thisSystem != "windows" && !usesLsof(thisSystem) {
		return nil, fmt.Errorf("not supported on %s", thisSystem)
	}
	return &host{config.source, config.log}, nil
}

// limits returns none: only Linux tells what runs out.
func (*host) limits(func(limitRow) bool) ([]limit, error) { return nil, nil }

// dumps returns what is to be read for the tallies.
func (h *host) dumps(ctx context.Context, tallies []*tally) []dump {
	if h.source != sourceGopsutil {
		return h.ownDumps(ctx, tallies)
	}
	from := newGopsutilReader(ctx, h.log, tallies, (&owners{found: map[int32]owner{}}).resolve)
	return []dump{{sources: []source{{sourceGopsutil, from.reading(socketTypes, hidden)}}}}
}

// readConnections returns gopsutil's records.
func readConnections(ctx context.Context, kind string, _ fields) ([]net.ConnectionStat, error) {
	return net.ConnectionsWithContext(ctx, kind)
}

// owners asks gopsutil for the name and the user of a process, once.
type owners struct{ found map[int32]owner }

func (p *owners) resolve(s *socket) {
	known, isKnown := p.found[s.Pid]
	if !isKnown {
		known = owner{process: ask(s.Pid, (*process.Process).Name), user: ask(s.Pid, (*process.Process).Username)}
		known.holders = []holder{{s.Pid, known.process, known.user}}
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
