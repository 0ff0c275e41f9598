package main

import (
	"errors"
	"slices"
)

// fewSockets is the number of established connections up to which all are listed,
// where some of them have to be listed anyway.
const fewSockets = 10_000

// Below tooFew sockets, listing them is faster than reading the totals.
const tooFew = 100

// totals are the sockets of a network namespace by type, as the kernel tells them
// without listing them: those of TCP that are full ones, and those of UDP.
type totals map[string]int

// totals reads the kernel's totals for the network namespace, in constant time.
func (n namespace) totals(p procfs) (t totals, err error) {
	err = n.within(func() error {
		four, err := p.sockstat("sockstat", "TCP: inuse", "UDP: inuse")
		if err != nil {
			return err
		}
		six, err := p.sockstat("sockstat6", "TCP6: inuse", "UDP6: inuse")
		if err != nil {
			return err
		}
		t = totals{"tcp": four[0], "udp": four[1], "tcp6": six[0], "udp6": six[1]}
		return nil
	})
	return t, err
}

// hasFastOpen tells whether a half-open connection can be a full socket.
func (n namespace) hasFastOpen(p procfs) (has bool) {
	const server = 0x2 // TFO_SERVER_ENABLE in include/net/tcp.h
	err := n.within(func() error {
		bits, err := p.numbers("net/ipv4/tcp_fastopen", 1)
		has = err != nil || int(bits[0])&server != 0
		return nil
	})
	return has || err != nil
}

// errNoTotals says that the totals cannot serve.
var errNoTotals = errors.New("the kernel's totals do not tell how many are established")

// readWithTotals lists all but the established connections. Their number is what
// the kernel has in use besides the full sockets that were listed: that is much
// cheaper, and more exact, as a connection that is replaced meanwhile is in a
// list twice or not at all. Tallies that need a list have the connections within
// their bounds listed.
func (d *sockDiag) readWithTotals(to counter, how manner) error {
	var listed []*tally
	isWorth := false
	for _, t := range d.tallies {
		switch isAsked := t.includesEstablished(d.types...); {
		case isAsked && t.isPlain():
			isWorth = true
		case isAsked:
			listed = append(listed, t)
		}
	}
	if !isWorth || len(listed) > 0 && len(d.spaces) > 1 { // one walk for each namespace
		return errPass
	}
	before, err := d.told()
	if err != nil {
		return err
	}
	inUse := before["tcp"] + before["tcp6"]
	if inUse < tooFew || len(listed) > 0 && inUse < fewSockets {
		return errPass
	}
	if err := d.list(to, dumpRequest{states: allStates &^ establishedState}, how); err != nil {
		return err
	}
	full := d.full
	after, err := d.space.totals(d.procfs)
	if err != nil {
		return err
	}
	for i, socketType := range d.types {
		s := socket{proto: socketType, netns: d.space.name, netnsID: d.space.inode}
		s.Status = "ESTABLISHED"
		number := max(before[socketType], after[socketType]) - full[i]
		if number < 0 || d.hasHalfOpen && d.space.hasFastOpen(d.procfs) {
			return errNoTotals
		}
		to.addTo((*tally).isPlain, &s, number)
	}
	if len(listed) == 0 {
		return nil
	}
	return d.list(to, dumpRequest{states: establishedState, program: d.program(listed, how), isFor: func(t *tally) bool { return !t.isPlain() }}, how)
}

func (t *tally) includesEstablished(types ...string) bool {
	return slices.ContainsFunc(types, func(socketType string) bool { return t.includes(socketType, "ESTABLISHED") })
}
