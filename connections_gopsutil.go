package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os/exec"
	"runtime"

	"github.com/shirou/gopsutil/v3/net"
)

// gopsutilRecords reads the sockets of the host with gopsutil, by the cheapest
// call that gives family, type and status on this system.
//
// gopsutil leaves out rows that look alike (SO_REUSEPORT listeners, UDP sockets
// bound alike).
func gopsutilRecords(ctx context.Context) iter.Seq2[net.ConnectionStat, error] {
	return func(yield func(net.ConnectionStat, error) bool) {
		read := net.ConnectionsWithContext
		if runtime.GOOS == "linux" {
			// Only there it exists, and leaves out a look at each process.
			read = net.ConnectionsWithoutUidsWithContext
		}
		connections, err := read(ctx, "inet")
		if ctx.Err() != nil {
			// gopsutil takes the output of an lsof that was stopped for whole.
			err = ctx.Err()
		}
		if err != nil {
			yield(net.ConnectionStat{}, gopsutilError(err))
			return
		}
		for _, connection := range connections {
			if !yield(connection, nil) {
				return
			}
		}
	}
}

// gopsutilError says what the failure means for the person who runs the check.
func gopsutilError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("the sockets are read with lsof, which is missing: install it (FreeBSD: pkg install lsof)")
	case err.Error() == "not implemented yet": // gopsutil keeps the error's variable to itself
		return fmt.Errorf("not supported on %s", runtime.GOOS)
	}
	return fmt.Errorf("reading the sockets failed: %w", err)
}
