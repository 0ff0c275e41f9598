package main

import (
	"cmp"
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

// kind is what a record says of the group that it belongs to.
type kind struct {
	family, socketType uint32
	status             string
}

// count adds up the selected records by type and status. It is the only place
// where sockets become numbers. The expected groups are there even with no
// socket in them. The groups come back sorted: most sockets first, equal counts
// in the order of the types and then of the names of the statuses.
//
// An error among the records is returned at once and nothing is counted: half
// a reading is no reading.
func count(records iter.Seq2[net.ConnectionStat, error], selection Selection, expected []Group) ([]Group, error) {
	// Spellings are folded once for each kind and not once for each record.
	kinds := map[kind]int{}
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		kinds[kind{record.Family, record.Type, record.Status}]++
	}

	counts := map[Group]int{} // the keys have no count of their own
	for _, group := range expected {
		counts[group] = 0
	}
	for kind, sockets := range kinds {
		group := Group{Type: socketType(kind.family, kind.socketType)}
		if group.Type == "" {
			continue
		}
		group.Status = statusNone
		if !isUDP(group.Type) && kind.status != "" {
			group.Status, _ = canonicalStatus(kind.status)
		}
		if selection.includes(group.Type, group.Status) {
			counts[group] += sockets
		}
	}

	groups := make([]Group, 0, len(counts))
	for group, sockets := range counts {
		group.Count = sockets
		groups = append(groups, group)
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(slices.Index(socketTypes, a.Type), slices.Index(socketTypes, b.Type)),
			cmp.Compare(a.Status, b.Status),
		)
	})
	return groups, nil
}
