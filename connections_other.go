//go:build !linux

package main

import (
	"context"

	"github.com/shirou/gopsutil/v3/net"
)

// liveParts returns the selected sockets of this host, in one part: gopsutil
// reads them all at once.
func liveParts(ctx context.Context, config Config) []part {
	read := gopsutilSource(ctx, config.Selection)
	return []part{{sources: []source{{sourceGopsutil, read("")}}}}
}

// readConnections returns gopsutil's records.
func readConnections(ctx context.Context, kind string) ([]net.ConnectionStat, error) {
	return net.ConnectionsWithContext(ctx, kind)
}
