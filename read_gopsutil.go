package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/net"
)

// gopsutilReader reads sockets with gopsutil, which lists them all at once.
//
// It is for comparing: see gopsutilLacks.
type gopsutilReader struct {
	asked   fields
	resolve func(*socket) // fills in the names of the process and the user
	list    func() ([]net.ConnectionStat, error)
}

// gopsutilLacks says what is wrong with gopsutil's numbers on a system.
func gopsutilLacks(system string) string {
	switch {
	case system == "windows":
		return "it takes a table that Windows does not give for an empty one"
	case usesLsof(system):
		return "it counts a socket once for each process that shares it, and leaves out those with a descriptor from 10000 on and those bound to nothing"
	}
	return "it leaves out sockets that look alike (SO_REUSEPORT listeners, UDP sockets bound alike)"
}

func newGopsutilReader(ctx context.Context, log debugLog, tallies []*tally, resolve func(*socket)) *gopsutilReader {
	r := &gopsutilReader{asked: fieldsOf(tallies), resolve: resolve}
	r.list = sync.OnceValues(func() ([]net.ConnectionStat, error) { return listConnections(ctx, log, kindOf(tallies), r.asked) })
	return r
}

// kindOf returns what gopsutil calls the sockets that the tallies ask for.
func kindOf(tallies []*tally) string {
	types := slices.DeleteFunc(slices.Clone(socketTypes), func(socketType string) bool { return !anyCounts(socketType, tallies) })
	if len(types) != 1 || usesLsof(runtime.GOOS) {
		return "inet"
	}
	return map[string]string{"tcp": "tcp4", "tcp6": "tcp6", "udp": "udp4", "udp6": "udp6"}[types[0]]
}

func listConnections(ctx context.Context, log debugLog, kind string, asked fields) ([]net.ConnectionStat, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	started := time.Now()
	connections, err := readConnections(ctx, kind, asked)
	log.done(len(connections), err, started, "gopsutil: %s", kind)
	if ctx.Err() != nil {
		// gopsutil takes the output of an lsof that was stopped for whole.
		return nil, ctx.Err()
	}
	return connections, gopsutilFault(err, len(connections), runtime.GOOS, os.Geteuid() == 0)
}

var (
	errOwnSockets = errors.New("without root lsof lists your own sockets only: run the check as root, with sudo for instance")
	errNoLsof     = errors.New("lsof, which lists the sockets on this system, is missing: install it (FreeBSD: pkg install lsof)")
)

// gopsutilFault says what is wrong with a reading of all sockets and what would
// be right, nil where nothing is.
func gopsutilFault(err error, connections int, system string, isRoot bool) error {
	switch {
	case err == nil && usesLsof(system) && !isRoot:
		return errOwnSockets
	case err == nil && connections == 0 && usesLsof(system):
		// gopsutil does not tell an lsof that failed from one that found nothing.
		return errors.New("lsof lists no sockets at all, which cannot be true: run lsof -i to see why")
	case errors.Is(err, exec.ErrNotFound):
		return errNoLsof
	case err != nil && err.Error() == "not implemented yet": // gopsutil does not export this error
		return fmt.Errorf("not supported on %s", system)
	}
	return err
}

// reading returns a function that counts the sockets of the types.
func (r *gopsutilReader) reading(types []string, netns string) func(counter) error {
	return func(to counter) error {
		connections, err := r.list()
		if err != nil {
			return err
		}
		sockets := make([]socket, 0, len(connections))
		for _, connection := range connections {
			s := socket{ConnectionStat: connection, proto: typeOf(connection.Family, connection.Type), netns: netns, idle: -1}
			if !slices.Contains(types, s.proto) {
				continue
			}
			s.Status = readStatus(s.proto, s.Status)
			s.Laddr.IP, s.Raddr.IP = usualText(s.Laddr.IP), usualText(s.Raddr.IP)
			if s.Raddr.Port == 0 {
				s.Raddr.IP = nothing
			}
			sockets = append(sockets, s)
		}
		orientAll(sockets, func(s *socket) bool {
			r.addOwner(s)
			return s.process != nothing
		}, to)
		return nil
	}
}

// addOwner fills in the names that are asked for. No process holds sockets in
// some statuses.
func (r *gopsutilReader) addOwner(s *socket) {
	if r.asked&(fieldProcess|fieldUser) == 0 {
		return
	}
	if s.Pid == 0 && (s.Status == "TIME_WAIT" || s.Status == "SYN_RECV") {
		s.process, s.user, s.Uids = nothing, nothing, nil
		return
	}
	s.process = hidden
	r.resolve(s)
}

// usualText returns an address of gopsutil, or of a recording, in its usual form.
// lsof has * for any.
func usualText(text string) string {
	address, err := netip.ParseAddr(text)
	switch {
	case err == nil:
		return usualAddress(address)
	case text == "":
		return nothing
	}
	return cleanName(text)
}
