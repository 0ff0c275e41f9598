//go:build darwin || freebsd

package main

import (
	"context"
	"os"
)

// ownDumps returns the one dump that lsof reads.
func (h *host) ownDumps(ctx context.Context, _ []*tally) []dump {
	return []dump{{sources: []source{{sourceLsof, func(to counter) error {
		if os.Geteuid() != 0 {
			return errOwnSockets
		}
		return readLsof(ctx, h.log, to)
	}}}}}
}
