package main

import (
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

// statusNone is the status of every UDP socket, and of a TCP socket only where a
// record has none.
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

// kinds returns all selected types and statuses that the operating system, in
// runtime.GOOS's spelling, can have.
func (s Selection) kinds(system string) []key {
	var kinds []key
	for _, socketType := range socketTypes {
		for _, status := range statuses {
			only, rare := rareStatuses[status]
			if isUDP(socketType) == (status == statusNone) && s.includes(socketType, status) &&
				(!rare || slices.Contains(only, system)) && isListed(system, status) {
				kinds = append(kinds, keyOf(socketType, status))
			}
		}
	}
	return kinds
}

// keyOf returns the key of the sockets of that type in that status.
func keyOf(socketType, status string) key {
	k := key{family: afInet, kind: sockStream, status: status}
	if strings.HasSuffix(socketType, "6") {
		k.family = afInet6[0]
	}
	if isUDP(socketType) {
		k.kind = sockDgram
	}
	return k
}

// thisSystem is the operating system whose groups --zero reports.
const thisSystem = runtime.GOOS

// source is a way to read sockets.
type source struct {
	name    string
	records iter.Seq2[net.ConnectionStat, error] // can be read again after an error
}

// part is a share of the sockets, with the sources that can read it, the best
// one first.
type part struct {
	name    string // the type, "" where the part has all
	space   uint64 // tells network namespaces apart
	netns   string // the name of the network namespace, "" where it is not needed
	names   names  // nil where owners have no names
	sources []source
	ports   func() (portSpace, error) // nil where that is not known
}

// errVanished says that a part of the host is no longer there, and no longer of
// interest.
var errVanished = errors.New("the network namespace is gone")

// failure is a source that could not read a part.
type failure struct {
	part, source string
	err          error
}

// Reading is what was counted, and how.
type Reading struct {
	Groups    []Group
	Sockets   int       // in the groups
	Selected  int       // sockets before the filters on users and processes
	Unseen    int       // sockets whose process this user may not see, where that matters
	UserLess  int       // sockets whose user is not known, where users matter
	Strangers int       // sockets of users that have no id of their own here, where users matter
	Sources   []string  // the names of those that were used, each once
	Failures  []failure // of sources for which another one served
}

// count adds up the selected sockets by group: all that is judged but the use of
// ephemeral ports. The expected groups are there even with no socket in
// them. The groups come back sorted, most sockets first.
//
// An error says why some part could not be read by any of its sources.
func count(parts []part, config Config) (Reading, error) {
	var reading Reading
	tally := config.tally()
	indexes := map[string]int{} // of the groups, by label
	for part, result := range readAll(parts, tally) {
		if result.counts == nil {
			return Reading{}, unreadable(part, result.failures)
		}
		reading.Failures = append(reading.Failures, result.failures...)
		if !slices.Contains(reading.Sources, result.used) {
			reading.Sources = append(reading.Sources, result.used)
		}
		for key, sockets := range result.counts.all() {
			if !config.selects(key) {
				continue
			}
			reading.Selected += sockets
			switch {
			case !tally.needs.user || userName(key, part) != unseen:
			case key.uid == uidUnseen || thisSystem != "linux":
				reading.UserLess += sockets
			default: // see userMap
				reading.Strangers += sockets
			}
			if !config.Filter.matchesUser(key, part) {
				continue
			}
			if tally.needs.process && processName(key, part) == unseen {
				reading.Unseen += sockets
			}
			if !config.Filter.matchesProcess(key, part) {
				continue
			}
			group := config.By.group(key, part)
			index, known := indexes[group.Label]
			if !known {
				group.Unseen = config.By.unseenLabel(key, part)
				index = len(reading.Groups)
				indexes[group.Label] = index
				reading.Groups = append(reading.Groups, group)
			}
			reading.Groups[index].Count += sockets
			reading.Sockets += sockets
		}
	}
	for _, expected := range config.Expected {
		if !slices.ContainsFunc(reading.Groups, expected.is) {
			reading.Groups = append(reading.Groups, expected)
		}
	}
	slices.SortFunc(reading.Groups, compareGroups)
	return reading, nil
}

// selects tells whether the sockets with this key, a canonical one, are of a
// type and in a status that count.
func (c *Config) selects(k key) bool {
	socketType := k.socketType()
	return socketType != "" && c.Selection.includes(socketType, k.status)
}

// result is what became of reading a part.
type result struct {
	counts   *counts // nil where no source could read it
	used     string
	failures []failure
	panicked any // passed on to the one who asked
}

// maxReadings is how many parts are read at the same time: the types of a
// network namespace. The kernel takes most of the time, and lists one type on
// one processor.
const maxReadings = 4

// readAll reads the parts side by side and yields them in their order.
func readAll(parts []part, tally tally) iter.Seq2[part, result] {
	type reading struct {
		part part
		done chan result
	}
	return func(yield func(part, result) bool) {
		var readings []reading
		finish := func() bool {
			first := readings[0]
			readings = readings[1:]
			result := <-first.done
			if result.panicked != nil {
				panic(result.panicked)
			}
			return yield(first.part, result)
		}
		for _, part := range parts {
			if len(readings) == maxReadings && !finish() {
				return
			}
			next := reading{part, make(chan result, 1)}
			readings = append(readings, next)
			go func() {
				var r result
				defer func() {
					r.panicked = recover()
					next.done <- r
				}()
				r.counts, r.used, r.failures = read(part, tally.of)
			}()
		}
		for len(readings) > 0 {
			if !finish() {
				return
			}
		}
	}
}

// read returns what the function makes of the records of the first source that
// can read all of the part, and the name of that source. The result is nil
// where none could.
func read[T any](part part, of func(iter.Seq2[net.ConnectionStat, error]) (*T, error)) (result *T, used string, failures []failure) {
	for _, source := range part.sources {
		result, err := of(source.records)
		if err == nil {
			return result, source.name, failures
		}
		failures = append(failures, failure{part.name, source.name, err})
		if errors.Is(err, context.DeadlineExceeded) {
			break // no time is left for another one
		}
	}
	return nil, "", failures
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
	where := ""
	if part.netns != "" {
		where = " of the network namespace " + outsideName(part.netns)
	}
	return fmt.Errorf("the %s sockets%s cannot be read: %s", part.name, where, strings.Join(reasons, "; "))
}
