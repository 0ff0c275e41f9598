//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The names of the loads.
const (
	established = "established"
	proxy       = "proxy"
	leak        = "leak"
	outgoing    = "outgoing"
	incoming    = "incoming"
	matches     = "matches"
	namespaces  = "namespaces"
)

const (
	// maxSockets is the largest load that can be asked for.
	maxSockets = 1_000_000
	// maxNamespaces is the same with namespaces: each is a process.
	maxNamespaces = 1000
)

// A load says which sockets there are while commands are measured.
type load struct {
	kind    string
	sockets int // with namespaces, how many of them
}

func (l load) String() string {
	if l == (load{established, 0}) {
		return "idle"
	}
	k, _ := kindNamed(l.kind)
	return formatCount(l.sockets) + " " + k.title
}

// A kind is a row of the table of loads.
type kind struct {
	name string
	// title is what the sockets are called after their number.
	title string
	// usual is the number of sockets when no other is asked for.
	usual int
	// each is how many sockets come of one connection.
	each int
	// listens says that the processes inherit listening sockets.
	listens bool
	// private says that the load needs a network namespace of its own.
	private bool
	// lifetime is the time after which the sockets go by themselves.
	lifetime time.Duration
	// connect makes the connection of a number.
	connect func(s server, number int) error
}

// kinds is the table of loads, in the order in which they are measured.
// Matches has nothing to connect with: it is a mixture of two others.
func kinds() []kind {
	return []kind{
		{name: established, title: "established", each: 2, listens: true, connect: server.establish},
		{name: proxy, title: "in TIME_WAIT", usual: 50_000, each: 1, listens: true, private: true, lifetime: time.Minute, connect: server.leaveTimeWait},
		{name: leak, title: "in CLOSE_WAIT", usual: 100_000, each: 1, listens: true, private: true, connect: server.leaveCloseWait},
		{name: outgoing, title: "half outgoing", usual: 100_000, each: 1, private: true, connect: server.halfOutgoing},
		{name: incoming, title: "incoming", usual: 500_000, each: 1, private: true, connect: server.incoming},
		{name: matches, title: "established, one in 500 on port 443", usual: 500_000, each: 2, private: true},
		{name: namespaces, title: "network namespaces", usual: 100, each: 1, private: true, connect: server.listen},
	}
}

// kindNamed returns the row of a name, and false if there is none.
func kindNamed(name string) (kind, bool) {
	list := kinds()
	i := slices.IndexFunc(list, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return list[i], true
}

// parts returns what has to be made one after the other for a load: one in 500
// of the sockets of matches is on port 443, the others are established.
func (l load) parts() []load {
	if l.kind != matches {
		return []load{l}
	}
	matching := l.sockets / 1000 * 2
	return []load{{established, l.sockets - matching}, {incoming, matching}}
}

// check refuses a load that cannot be.
func (l load) check() error {
	k, found := kindNamed(l.kind)
	if !found {
		return fmt.Errorf("there is no load %q", l.kind)
	}
	if l.sockets < 0 || l.sockets > maxSockets || l.sockets%k.each != 0 {
		return fmt.Errorf("%d sockets: must be a number up to %d, and even where both ends count", l.sockets, maxSockets)
	}
	if l.kind == namespaces && l.sockets > maxNamespaces {
		return fmt.Errorf("%d namespaces: must be at most %d", l.sockets, maxNamespaces)
	}
	return nil
}

// parseLoads reads a list of loads as NAME or NAME=SOCKETS. Without a number,
// established has all those of sizes, and the others have their usual one.
func parseLoads(names, sizes string) ([]load, error) {
	var numbers []int
	for field := range strings.SplitSeq(sizes, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return nil, fmt.Errorf("--sockets: %q is not a number", field)
		}
		numbers = append(numbers, number)
	}
	var list []load
	for field := range strings.SplitSeq(names, ",") {
		name, size, sized := strings.Cut(strings.TrimSpace(field), "=")
		number, err := strconv.Atoi(size)
		k, found := kindNamed(name)
		switch {
		case sized && err != nil:
			return nil, fmt.Errorf("--loads: %q is not a number", size)
		case sized:
			list = append(list, load{name, number})
		case name == established:
			for _, n := range numbers {
				list = append(list, load{name, n})
			}
		case found:
			list = append(list, load{name, k.usual})
		default:
			return nil, fmt.Errorf("--loads: there is no load %q", name)
		}
	}
	for _, l := range list {
		if err := l.check(); err != nil {
			return nil, err
		}
	}
	return inOrder(list), nil
}

// inOrder sorts loads by kind and size and takes out repetitions.
func inOrder(list []load) []load {
	order := kinds()
	place := func(l load) int {
		return slices.IndexFunc(order, func(k kind) bool { return k.name == l.kind })
	}
	slices.SortFunc(list, func(a, b load) int {
		if a.kind != b.kind {
			return place(a) - place(b)
		}
		return a.sockets - b.sockets
	})
	return slices.Compact(list)
}

// allLoads is the value of --loads that stands for the whole table.
func allLoads() string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return strings.Join(names, ",")
}
