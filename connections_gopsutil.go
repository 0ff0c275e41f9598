package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os/exec"
	"runtime"
	"sync"

	"github.com/shirou/gopsutil/v3/net"
)

// gopsutilSource returns a function for the sockets of one type, or of all
// types for "". They are read with gopsutil, at the first use and once.
//
// gopsutil leaves out rows that look alike (SO_REUSEPORT listeners, UDP sockets
// bound alike).
func gopsutilSource(ctx context.Context, selection Selection) func(string) iter.Seq2[net.ConnectionStat, error] {
	kind := "inet"
	if len(selection.Types) == 1 {
		kind = map[string]string{"tcp": "tcp4", "tcp6": "tcp6", "udp": "udp4", "udp6": "udp6"}[selection.Types[0]]
	}
	read := sync.OnceValues(func() ([]net.ConnectionStat, error) { return readGopsutil(ctx, kind) })
	return func(wanted string) iter.Seq2[net.ConnectionStat, error] {
		return func(yield func(net.ConnectionStat, error) bool) {
			connections, err := read()
			if err != nil {
				yield(net.ConnectionStat{}, err)
				return
			}
			for _, connection := range connections {
				if wanted != "" && socketType(connection.Family, connection.Type) != wanted {
					continue
				}
				if !yield(connection, nil) {
					return
				}
			}
		}
	}
}

func readGopsutil(ctx context.Context, kind string) ([]net.ConnectionStat, error) {
	connections, err := readConnections(ctx, kind)
	switch {
	case ctx.Err() != nil:
		// gopsutil takes the output of an lsof that was stopped for whole.
		return nil, ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("lsof, which lists the sockets on this system, is missing: install it (FreeBSD: pkg install lsof)")
	case err != nil && err.Error() == "not implemented yet": // gopsutil does not export this error
		return nil, fmt.Errorf("not supported on %s", runtime.GOOS)
	}
	return connections, err
}
