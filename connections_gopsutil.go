package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/net"
)

// gopsutilSource returns a function for the sockets of one type, or of all
// types for "". They are read with gopsutil, at the first use and once.
//
// gopsutil leaves out rows that look alike (SO_REUSEPORT listeners, UDP sockets
// bound alike).
func gopsutilSource(ctx context.Context, config Config) func(string) iter.Seq2[net.ConnectionStat, error] {
	kind := "inet"
	if types := config.Selection.Types; len(types) == 1 && !usesLsof(runtime.GOOS) {
		kind = map[string]string{"tcp": "tcp4", "tcp6": "tcp6", "udp": "udp4", "udp6": "udp6"}[types[0]]
	}
	read := sync.OnceValues(func() ([]net.ConnectionStat, error) { return readGopsutil(ctx, kind, config.needs(), config.Log) })
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
				if status, _ := canonicalStatus(connection.Status); connection.Pid == pidUnseen && (status == "TIME_WAIT" || status == "SYN_RECV") {
					connection.Pid = pidNothing // no process holds these
				}
				if !yield(connection, nil) {
					return
				}
			}
		}
	}
}

func readGopsutil(ctx context.Context, kind string, needs needs, log debugLog) ([]net.ConnectionStat, error) {
	started := time.Now()
	connections, err := readConnections(ctx, kind, needs)
	log.printf("gopsutil: asked for %s: %d sockets, error %s, in %s", kind, len(connections), faultText(err), took(started))
	if ctx.Err() != nil {
		// gopsutil takes the output of an lsof that was stopped for whole.
		return nil, ctx.Err()
	}
	return connections, gopsutilFault(err, len(connections), runtime.GOOS, os.Geteuid() == 0)
}

// gopsutilFault says what is wrong with a reading of all sockets and what would
// be right, nil where nothing is.
func gopsutilFault(err error, connections int, system string, isRoot bool) error {
	switch {
	case err == nil && usesLsof(system) && !isRoot:
		return errors.New("without root lsof lists your own sockets only: run the check as root, with sudo for instance")
	case err == nil && connections == 0 && usesLsof(system):
		// gopsutil does not tell an lsof that failed from one that found nothing.
		return errors.New("lsof lists no sockets at all, which is not to be believed: run lsof -i to see why")
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("lsof, which lists the sockets on this system, is missing: install it (FreeBSD: pkg install lsof)")
	case err != nil && err.Error() == "not implemented yet": // gopsutil does not export this error
		return fmt.Errorf("not supported on %s", system)
	}
	return err
}

// usesLsof tells whether gopsutil runs lsof on the system.
func usesLsof(system string) bool { return system == "darwin" || system == "freebsd" }

// isListed tells whether the system has a way to list sockets in the status:
// lsof lists only what a process holds.
func isListed(system, status string) bool {
	return !usesLsof(system) || status != "TIME_WAIT" && status != "SYN_RECV"
}

// errNotListed is for a status that the system cannot list.
func errNotListed(status string) error {
	return fmt.Errorf("lsof, which lists the sockets on this system, leaves out those in %s: leave it out too", strings.ToLower(status))
}
