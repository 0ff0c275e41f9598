package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v3/net"
)

// socketTypes in the order in which they are listed everywhere.
var socketTypes = []string{"tcp", "tcp6", "udp", "udp6"}

// statusNone is the status of every UDP socket, and of no TCP socket.
const statusNone = "NONE"

// statuses are the canonical names, as they stand in performance data. The
// TCP ones are those of RFC 9293, section 3.3.2, as Linux spells them in
// include/net/tcp_states.h without the prefix TCP_.
var statuses = []string{
	"BOUND", "CLOSE", "CLOSE_WAIT", "CLOSING", "DELETE_TCB", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2",
	"IDLE", "LAST_ACK", "LISTEN", statusNone, "SYN_RECV", "SYN_SENT", "TIME_WAIT",
}

// rareStatuses are those that only the systems named can have.
var rareStatuses = map[string][]string{
	"BOUND":      {"solaris", "illumos"},
	"DELETE_TCB": {"windows"},
	"IDLE":       {"solaris", "illumos"},
}

// Numbers of address families and socket types in connection records. AF_INET
// and the socket types are the same on all systems, AF_INET6 is not, and
// recordings keep the number of the system that they were made on.
const (
	afInet     = 2 // AF_INET
	sockStream = 1 // SOCK_STREAM
	sockDgram  = 2 // SOCK_DGRAM
)

var afInet6 = []uint32{
	10, // Linux
	23, // Windows
	30, // macOS
	28, // FreeBSD
	24, // OpenBSD, NetBSD
}

// socketType returns the name of the type for the numbers of a connection
// record, or "" where it is neither TCP nor UDP over IPv4 or IPv6.
func socketType(family, kind uint32) string {
	name := ""
	switch kind {
	case sockStream:
		name = "tcp"
	case sockDgram:
		name = "udp"
	default:
		return ""
	}
	if family == afInet {
		return name
	}
	if slices.Contains(afInet6, family) {
		return name + "6"
	}
	return ""
}

func isUDP(socketType string) bool { return strings.HasPrefix(socketType, "udp") }

// canonicalStatus returns the canonical name for any spelling of a status, and
// whether it is one of the known ones. One that is not is returned in upper
// case.
func canonicalStatus(spelling string) (name string, known bool) {
	name = strings.ReplaceAll(strings.ToUpper(spelling), "-", "_")
	switch name {
	case "CLOSED":
		name = "CLOSE"
	case "DELETE":
		name = "DELETE_TCB"
	case "FIN_WAIT_1":
		name = "FIN_WAIT1"
	case "FIN_WAIT_2":
		name = "FIN_WAIT2"
	case "SYN_RECEIVED", "SYN_RCVD":
		name = "SYN_RECV"
	}
	return name, slices.Contains(statuses, name)
}

// Selection says which sockets count.
type Selection struct {
	Types    []string // canonical; empty selects all
	Statuses []string // canonical; empty selects all
}

func (s Selection) includes(socketType, status string) bool {
	return (len(s.Types) == 0 || slices.Contains(s.Types, socketType)) &&
		(len(s.Statuses) == 0 || slices.Contains(s.Statuses, status))
}

// groups returns all selected groups that the operating system can have, in
// runtime.GOOS's spelling.
func (s Selection) groups(system string) []Group {
	var groups []Group
	for _, socketType := range socketTypes {
		for _, status := range statuses {
			only, rare := rareStatuses[status]
			if isUDP(socketType) == (status == statusNone) && s.includes(socketType, status) &&
				(!rare || slices.Contains(only, system)) {
				groups = append(groups, Group{Type: socketType, Status: status})
			}
		}
	}
	return groups
}

// thisSystem is the operating system whose groups --zero reports.
const thisSystem = runtime.GOOS

// Group is a set of sockets that are counted together.
type Group struct {
	Type   string
	Status string
	Count  int
}

// label names the group in performance data and in thresholds.
func (g Group) label() string { return g.Type + "_" + g.Status }

// text names the group for a person.
func (g Group) text() string { return g.Type + " " + strings.ReplaceAll(g.Status, "_", " ") }

// source is a way to read sockets.
type source struct {
	name    string
	records iter.Seq2[net.ConnectionStat, error] // can be read again after an error
}

// part is a share of the sockets, with the sources that can read it, the best
// one first.
type part struct {
	name    string // the type, "" where the part has all
	sources []source
}

// kind is what a record says of the group that it belongs to.
type kind struct {
	family, socketType uint32
	status             string
}

// failure is a source that could not read a part.
type failure struct {
	part, source string
	err          error
}

// Reading is what was counted, and how.
type Reading struct {
	Groups   []Group
	Sockets  int       // in the groups
	Sources  []string  // the names of those that were used, each once
	Failures []failure // of sources for which another one served
}

// count adds up the selected sockets by type and status. It is the only place
// where sockets become numbers. The expected groups are there even with no
// socket in them. The groups come back sorted: most sockets first, equal counts
// in the order of the types and then of the names of the statuses.
//
// An error says why some part could not be read by any of its sources.
func count(parts []part, selection Selection, expected []Group) (Reading, error) {
	var reading Reading
	counts := map[Group]int{} // the keys have no count of their own
	for _, group := range expected {
		counts[group] = 0
	}
	for _, part := range parts {
		kinds, used, failures := part.read()
		if kinds == nil {
			return Reading{}, unreadable(part, failures)
		}
		reading.Failures = append(reading.Failures, failures...)
		if !slices.Contains(reading.Sources, used) {
			reading.Sources = append(reading.Sources, used)
		}
		for kind, sockets := range kinds {
			if group, counted := kind.group(); counted && selection.includes(group.Type, group.Status) {
				counts[group] += sockets
				reading.Sockets += sockets
			}
		}
	}
	for group, sockets := range counts {
		group.Count = sockets
		reading.Groups = append(reading.Groups, group)
	}
	slices.SortFunc(reading.Groups, func(a, b Group) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(slices.Index(socketTypes, a.Type), slices.Index(socketTypes, b.Type)),
			cmp.Compare(a.Status, b.Status),
		)
	})
	return reading, nil
}

// group returns the group of the sockets of this kind, and whether they count
// at all.
func (k kind) group() (Group, bool) {
	group := Group{Type: socketType(k.family, k.socketType), Status: statusNone}
	if group.Type != "" && !isUDP(group.Type) && k.status != "" {
		group.Status, _ = canonicalStatus(k.status)
		group.Status = printable(group.Status)
	}
	return group, group.Type != ""
}

// read tallies the part with the first of its sources that can read all of it,
// and returns the name of that source. The tally is nil where none could.
func (p part) read() (kinds map[kind]int, used string, failures []failure) {
	for _, source := range p.sources {
		kinds, err := tally(source.records)
		if err == nil {
			return kinds, source.name, failures
		}
		failures = append(failures, failure{p.name, source.name, err})
		if errors.Is(err, context.DeadlineExceeded) {
			break // no time is left for another one
		}
	}
	return nil, "", failures
}

// tally counts the records by kind: spellings are folded once for each kind,
// not once for each record. An error among the records is returned at once:
// half a reading is no reading.
func tally(records iter.Seq2[net.ConnectionStat, error]) (map[kind]int, error) {
	kinds := map[kind]int{}
	var last kind // the sockets of a kind come in long runs
	run := 0
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		next := kind{record.Family, record.Type, record.Status}
		if next != last && run > 0 {
			kinds[last] += run
			run = 0
		}
		last = next
		run++
	}
	if run > 0 {
		kinds[last] += run
	}
	return kinds, nil
}

// unreadable says why no source could read the part. Only the last failure of
// a source that was asked more than once is told.
func unreadable(part part, failures []failure) error {
	var reasons []string
	for i, failure := range failures {
		switch {
		case errors.Is(failure.err, context.DeadlineExceeded) || part.name == "":
			return failure.err
		case i+1 == len(failures) || failures[i+1].source != failure.source:
			reasons = append(reasons, failure.source+": "+failure.err.Error())
		}
	}
	return fmt.Errorf("the %s sockets cannot be read: %s", part.name, strings.Join(reasons, "; "))
}
