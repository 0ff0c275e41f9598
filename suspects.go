package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// holders counts the sockets by who holds them.
func (v violation) holders() *tally {
	t := *v.tally
	t.fields |= fieldProcess | fieldUser | fieldUnitIfKnown
	t.key = func(to []byte, s *socket) []byte {
		runsAs := s.user
		if len(s.holders) > 0 && isTold(s.holders[0].user) {
			runsAs = s.holders[0].user
		}
		for _, value := range []string{s.process, runsAs, s.unit} {
			to = append(append(to, value...), keySeparator...)
		}
		to = append(strconv.AppendBool(to, s.isWaiting), keySeparator...)
		for _, h := range s.holders {
			to = append(strconv.AppendInt(to, int64(h.pid), 10), ' ')
		}
		return to
	}
	return &t
}

// suspect is a program that holds sockets, however many processes it has.
type suspect struct{ process, user, unit string }

type share struct {
	sockets, waiting int
	pids             map[int]bool
}

type suspects map[suspect]*share

func holdersOf(found *counts) suspects {
	all := suspects{}
	for _, r := range found.rows {
		values := strings.Split(r.key, keySeparator)
		p := suspect{values[0], values[1], values[2]}
		if all[p] == nil {
			all[p] = &share{pids: map[int]bool{}}
		}
		s := all[p]
		s.sockets += r.known
		if values[3] == "true" {
			s.waiting += r.known
		}
		for typed := range strings.FieldsSeq(values[4]) {
			pid, _ := strconv.Atoi(typed)
			s.pids[pid] = true
		}
	}
	return all
}

// hasName tells whether a name is one: units can be empty too, where the kernel
// does not tell them.
func hasName(name string) bool { return name != "" && isTold(name) }

// name returns the program, or the unit where programs are hidden.
func (p suspect) name() string {
	switch {
	case hasName(p.process):
		return byProcess.shown(p.process)
	case hasName(p.unit):
		return byUnit.shown(p.unit)
	case p.process == hidden && hasName(p.user):
		return hidden
	}
	return ""
}

// blame returns who has most of the sockets, " (java 240)", "" where that is not
// known.
func (all suspects) blame(isNameOnly bool) string {
	sockets := map[string]int{}
	for p, s := range all {
		sockets[p.name()] += s.sockets
	}
	names := mostFirst(sockets)
	if len(names) == 0 || !hasName(names[0]) {
		return ""
	}
	if isNameOnly {
		return " (" + names[0] + ")"
	}
	return fmt.Sprintf(" (%s %d)", names[0], sockets[names[0]])
}

// text lists the programs with most sockets, and with tellNone beside them how many
// no process holds, such as those in TIME_WAIT.
func (all suspects) text(tellNone bool) string {
	sockets, unheld := map[string]int{}, 0
	for p, s := range all {
		name := p.name()
		if name == "" && p.process == nothing {
			unheld += s.sockets
		}
		if name == "" {
			continue
		}
		var belongs []string
		if hasName(p.user) {
			belongs = append(belongs, byUser.shown(p.user))
		}
		if hasName(p.unit) && name != byUnit.shown(p.unit) {
			belongs = append(belongs, byUnit.shown(p.unit))
		}
		if len(belongs) > 0 {
			name += " (" + strings.Join(belongs, ", ") + ")"
		}
		sockets[name+keySeparator+s.text()] += s.sockets
	}
	if tellNone && unheld > 0 && len(sockets) > 0 {
		sockets["no process"+keySeparator] = unheld
	}
	return mostText(sockets, 0, "; ")
}

// text returns what is told behind the number of sockets.
func (s share) text() (text string) {
	if len(s.pids) > 1 {
		text = fmt.Sprintf(" in %d processes", len(s.pids))
	}
	if len(s.pids) > 1 && len(s.pids) <= maxProcesses {
		text += ": " + strings.ReplaceAll(strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(s.pids))), "[]"), " ", ", ")
	}
	if s.waiting > 0 {
		text += fmt.Sprintf(" (%d not accepted)", s.waiting)
	}
	return text
}
