//go:build !linux && !windows && !darwin && !freebsd

package main

import "context"

// host reads the sockets of this host. Other systems than Linux have nothing to
// choose.
type host struct{ log debugLog }

func openHost(config *Config) (*host, error) { return &host{config.Log}, checkSystem(thisSystem) }

// dumps returns what is to be read for the tallies, in one dump.
func (h *host) dumps(ctx context.Context, tallies []*tally) []dump {
	return gopsutilDumps(ctx, h.log, tallies)
}

// limits returns none: other systems tell of nothing that runs out.
func (*host) limits(func(limitRow) bool) ([]limit, error) { return nil, nil }
