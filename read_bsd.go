//go:build darwin || freebsd

package main

import (
	"context"
	"os"
)

// host reads the sockets of this host, of which lsof tells.
type host struct {
	source string // one of sources
	log    debugLog
}

func openHost(config *Config) (*host, error) { return &host{config.Source, config.Log}, nil }

// limits returns none: lsof tells of nothing that runs out.
func (*host) limits(func(limitRow) bool) ([]limit, error) { return nil, nil }

// dumps returns what is to be read for the tallies, in one dump.
func (h *host) dumps(ctx context.Context, tallies []*tally) []dump {
	if h.source == sourceGopsutil {
		return gopsutilDumps(ctx, h.log, tallies)
	}
	return []dump{{sources: []source{{sourceLsof, func(to counter) error {
		if os.Geteuid() != 0 {
			return errOwnSockets
		}
		return readLsof(ctx, h.log, to)
	}}}}}
}
