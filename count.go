package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// fields are the parts of a socket that a tally looks at, besides its type and status.
type fields uint

const (
	fieldProcess fields = 1 << iota
	fieldUser
	fieldLocalAddress
	fieldLocalPort
	fieldRemoteAddress
	fieldRemotePort
	fieldNetns
	fieldIdle
	fieldDirection
	fieldUnit
	fieldUnitIfKnown // where the kernel tells it
	fieldIdleIfKnown
	fieldBound  // sockets in statusBound, which no other tally counts
	fieldQueues // those of listeners
)

// fieldsOriented are those for which the listeners must be known: a connection
// that nobody has accepted belongs to the owner of its listener.
const fieldsOriented = fieldProcess | fieldUser | fieldUnit | fieldDirection

// answer says whether a socket counts.
type answer int

const (
	no    answer = iota
	maybe        // it depends on something hidden
	yes
)

// sure returns the answer where nothing hidden matters.
func sure(isCounted bool) answer {
	if isCounted {
		return yes
	}
	return no
}

// tally is a way to count sockets.
type tally struct {
	includes func(socketType, status string) bool // no socket of another type and status counts
	fields   fields                               // what asks and key look at
	asks     func(*socket) answer                 // whether a socket counts
	key      func(to []byte, s *socket) []byte    // appends the name of the sockets that it is counted with
	most     int                                  // how many keys are kept, 0 for all
	bounds   func(netnsID uint64) []bound         // no socket outside of any of them counts; may be nil
}

// isPlain tells whether only types and statuses matter, so that a number of
// sockets will do for a list of them.
func (t *tally) isPlain() bool { return t.fields&^fieldNetns == 0 }

// bound has the ports or the networks that one end of a socket is in.
type bound struct {
	isRemote bool
	ports    []portRange
	networks []netip.Prefix
}

// fieldsOf returns what the tallies look at.
func fieldsOf(tallies []*tally) (all fields) {
	for _, t := range tallies {
		all |= t.fields
	}
	return all
}

// anyCounts tells whether any tally can count a socket of the type.
func anyCounts(socketType string, tallies []*tally) bool {
	return slices.ContainsFunc(tallies, func(t *tally) bool {
		return slices.ContainsFunc(statuses, func(status string) bool {
			return isUDP(socketType) == (status == statusNone) && t.includes(socketType, status)
		})
	})
}

// row is how many sockets have a key: known for certain, and hidden ones that
// may have it.
type row struct {
	key           string
	known, hidden int
}

func (r *row) add(other row) { r.known, r.hidden = r.known+other.known, r.hidden+other.hidden }

// counts are the rows of a tally.
type counts struct {
	*tally
	rows   []row
	index  map[string]int32 // of the rows, by key
	buffer []byte
	last   int32 // the row counted last: sockets with the same key come in long runs
	others row   // the sockets with keys that are not kept
}

// add counts sockets that are alike.
func (c *counts) add(s *socket, sockets int) {
	counted := c.asks(s)
	if counted == no || sockets == 0 {
		return
	}
	c.buffer = c.key(c.buffer[:0], s)
	if counted == yes {
		c.row().known += sockets
	} else {
		c.row().hidden += sockets
	}
}

// row returns the row for the key in the buffer.
func (c *counts) row() *row {
	if int(c.last) < len(c.rows) && string(c.buffer) == c.rows[c.last].key {
		return &c.rows[c.last]
	}
	index, isThere := c.index[string(c.buffer)]
	if !isThere {
		if c.most > 0 && len(c.rows) == c.most {
			return &c.others
		}
		index = int32(len(c.rows))
		c.rows = append(c.rows, row{key: string(c.buffer)})
		c.index[c.rows[index].key] = index
	}
	c.last = index
	return &c.rows[index]
}

// sum returns the sockets of all rows.
func (c *counts) sum() (known, unsure int) {
	known, unsure = c.others.known, c.others.hidden
	for _, r := range c.rows {
		known, unsure = known+r.known, unsure+r.hidden
	}
	return known, unsure
}

// counter counts for several tallies in one pass.
type counter []*counts

func newCounter(tallies []*tally) (all counter) {
	for _, t := range tallies {
		all = append(all, &counts{tally: t, index: map[string]int32{}})
	}
	return all
}

// add counts a socket, which may change afterwards.
func (c counter) add(s *socket) {
	s.isKeyed = false
	for _, each := range c {
		each.add(s, 1)
	}
}

// addTo counts sockets that are alike for some tallies only.
func (c counter) addTo(isFor func(*tally) bool, s *socket, sockets int) {
	s.isKeyed = false
	for _, each := range c {
		if isFor(each.tally) {
			each.add(s, sockets)
		}
	}
}

func (c counter) merge(other counter) {
	for i, to := range c {
		if len(to.rows) == 0 {
			c[i] = other[i]
			continue
		}
		for _, from := range other[i].rows {
			to.buffer = append(to.buffer[:0], from.key...)
			to.row().add(from)
		}
		to.others.add(other[i].others)
	}
}

// orientAll counts sockets that come in no order. addOwner completes one and
// tells whether a process holds it.
func orientAll(sockets []socket, addOwner func(*socket) bool, to counter) {
	listening := listeners{}
	for _, isFirst := range []bool{true, false} {
		for i := range sockets {
			if s := &sockets[i]; isFirst == (s.Status == "LISTEN") {
				listening.orient(s, addOwner(s))
				to.add(s)
			}
		}
	}
}

// dump is a share of the sockets that is read in one go.
type dump struct {
	name    string   // in messages: "tcp", "" where it has all
	where   string   // in messages: the network namespace, "" where there is only one
	sources []source // that can read it, the best one first
	isQuick bool     // it takes no time that another processor would be worth
	isLast  bool     // to be read when the others have been
}

// source is a way to read a dump.
type source struct {
	name string // "" for one that only completes what others have read
	read func(counter) error
}

// errPass says that a source leaves the dump to the next one.
var errPass = errors.New("another source serves better")

// failure is a source that could not read a dump.
type failure struct {
	dump, source string
	err          error
}

// reading is what came of counting.
type reading struct {
	counts   counter   // as many as tallies
	sources  []string  // that served, each once
	failures []failure // of sources for which another one served
}

// maxReadings is how many dumps are read at the same time: the types of a
// network namespace. The kernel takes most of the time, and lists one type on
// one processor.
const maxReadings = 4

// count reads the dumps side by side and adds up their sockets for each tally,
// in one pass. Half a dump is never counted. An error says why a dump could not
// be read by any of its sources.
func count(dumps []dump, tallies ...*tally) (reading, error) {
	result := reading{counts: newCounter(tallies)}
	outcomes := make([]outcome, len(dumps))
	slots := make(chan struct{}, maxReadings)
	var all sync.WaitGroup
	var merging sync.Mutex
	read := func(i int) {
		defer func() {
			outcomes[i].fault = recover()
		}()
		outcomes[i] = dumps[i].read(tallies)
		merging.Lock()
		defer merging.Unlock()
		if outcomes[i].found != nil {
			result.counts.merge(outcomes[i].found)
		}
	}
	for i, d := range dumps {
		if d.isLast {
			all.Wait()
		}
		if d.isQuick || d.isLast || len(dumps) == 1 {
			read(i)
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			read(i)
		})
	}
	all.Wait()
	for _, c := range result.counts {
		c.index = nil // with many rows it is large
	}
	for i, o := range outcomes {
		switch {
		case o.fault != nil:
			panic(o.fault)
		case o.found == nil:
			return reading{}, dumps[i].unreadable(o.failures)
		case o.source != "" && !slices.Contains(result.sources, o.source):
			result.sources = append(result.sources, o.source)
		}
		result.failures = append(result.failures, o.failures...)
	}
	return result, nil
}

// outcome is what became of a dump.
type outcome struct {
	found    counter // nil where no source could read all of it
	source   string
	failures []failure
	fault    any // a panic, passed on to the one who asked
}

func (d dump) read(tallies []*tally) (o outcome) {
	for _, from := range d.sources {
		found := newCounter(tallies)
		err := from.read(found)
		if err == nil {
			o.found, o.source = found, from.name
			return o
		}
		if errors.Is(err, errPass) {
			continue
		}
		o.failures = append(o.failures, failure{d.name, from.name, err})
		if errors.Is(err, context.DeadlineExceeded) {
			break // no time is left for another one
		}
	}
	return o
}

// unreadable says why no source could read the dump. Of failures in a row that
// are of the same source, or for the same reason, the last one is told.
func (d dump) unreadable(failures []failure) error {
	var reasons []string
	for i, failed := range failures {
		switch {
		case errors.Is(failed.err, context.DeadlineExceeded) || d.name == "":
			return failed.err
		case i+1 == len(failures) || failures[i+1].source != failed.source && failures[i+1].err.Error() != failed.err.Error():
			reasons = append(reasons, failed.source+": "+failed.err.Error())
		}
	}
	return fmt.Errorf("the %s sockets%s cannot be read: %s", d.name, d.where, strings.Join(reasons, "; "))
}
