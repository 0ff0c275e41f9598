package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const establishedState = 1 << 1

// fewSockets is how many established connections are rather listed with the
// others than left out, where some of them have to be listed anyway.
const fewSockets = 10_000

// totals are what the kernel tells of the TCP sockets of a network namespace
// without listing them.
type totals struct {
	inUse       map[string]int // full sockets, by type
	hasFastOpen bool           // a half-open connection can be a full socket
}

// totals reads what a thread in the network namespace is told, in constant time.
func (n namespace) totals(p procfs) (t totals, err error) {
	err = n.within(func() error {
		t.inUse = map[string]int{}
		for _, of := range []struct{ file, line, socketType string }{
			{"sockstat", "TCP:", "tcp"}, {"sockstat6", "TCP6:", "tcp6"},
		} {
			content, err := os.ReadFile(filepath.Join(string(p), "thread-self/net", of.file))
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(content)) {
				if words := strings.Fields(line); len(words) > 2 && words[0] == of.line && words[1] == "inuse" {
					t.inUse[of.socketType], err = strconv.Atoi(words[2])
				}
			}
			if _, isThere := t.inUse[of.socketType]; err != nil || !isThere {
				return fmt.Errorf("%s does not tell how many sockets are in use", of.file)
			}
		}
		const server = 0x2 // TFO_SERVER_ENABLE in include/net/tcp.h
		bits, err := p.setting("net/ipv4/tcp_fastopen")
		number, fault := strconv.ParseUint(bits, 0, 32)
		t.hasFastOpen = err != nil || fault != nil || number&server != 0
		return nil
	})
	return t, err
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
		if !t.isPlain() && d.includesEstablished(t) {
			listed = append(listed, t)
		}
		isWorth = isWorth || t.isPlain() && d.includesEstablished(t)
	}
	if !isWorth || len(listed) > 0 && len(d.spaces) > 1 { // one walk for each namespace
		return errPass
	}
	before, err := d.space.totals(d.procfs)
	if err != nil {
		return err
	}
	if len(listed) > 0 && before.inUse["tcp"]+before.inUse["tcp6"] < fewSockets {
		return errPass
	}
	if err := d.list(to, question{states: allStates &^ establishedState}, how); err != nil {
		return err
	}
	full := d.full
	after, err := d.space.totals(d.procfs)
	if err != nil {
		return err
	}
	for i, socketType := range d.types {
		s := Socket{Proto: socketType, Netns: d.space.name, NetnsID: d.space.inode}
		s.Status = "ESTABLISHED"
		number := max(before.inUse[socketType], after.inUse[socketType]) - full[i]
		if number < 0 || d.hasHalfOpen && before.hasFastOpen {
			return errNoTotals
		}
		to.addNumber(&s, number)
	}
	if len(listed) == 0 {
		return nil
	}
	return d.list(to, question{states: establishedState, program: d.program(listed, how), isRest: true}, how)
}

func (d *sockDiag) includesEstablished(t *tally) bool {
	for _, socketType := range d.types {
		if t.includes(socketType, "ESTABLISHED") {
			return true
		}
	}
	return false
}
