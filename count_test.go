package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rowsOf returns the rows as text, sorted.
func rowsOf(found *counts) string {
	var texts []string
	for _, r := range found.rows {
		text := fmt.Sprintf("%s %d", strings.ReplaceAll(r.key, keySeparator, " "), r.known)
		if r.hidden > 0 {
			text += fmt.Sprintf(" to %d", r.known+r.hidden)
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	if found.others != (row{}) {
		texts = append(texts, fmt.Sprintf("others %d", found.others.known))
	}
	return strings.Join(texts, ", ")
}

// cut returns a source that reads the sockets and then fails.
func cut(err error, sockets ...*socket) func(counter) error {
	return func(to counter) error {
		return errors.Join(made(sockets).read(to), err)
	}
}

func TestHalfAReadingIsNotCounted(t *testing.T) {
	whole := made(socketsOf("tcp LISTEN")).read
	half := func(err error) func(counter) error { return cut(err, socketsOf("2 tcp LISTEN", "tcp CLOSE")...) }
	first, second := errors.New("broke off"), errors.New("no such thing")
	late := fmt.Errorf("reading: %w", context.DeadlineExceeded)
	for _, test := range []struct {
		name, dump          string
		sources             []source
		rows, used, message string
	}{
		{"the first source serves", "tcp", []source{{"a", whole}, {"b", half(first)}}, "LISTEN 1", "a", ""},
		{"the second serves", "tcp", []source{{"a", half(first)}, {"b", whole}}, "LISTEN 1", "b", ""},
		{"the same source serves when asked again", "tcp", []source{{"a", half(first)}, {"a", whole}}, "LISTEN 1", "a", ""},
		{"one that only completes is not named", "tcp", []source{{"", whole}}, "LISTEN 1", "", ""},
		{
			"none serves", "tcp", []source{{"a", half(second)}, {"a", half(first)}, {"b", half(second)}}, "", "",
			"the tcp sockets of the test cannot be read: a: broke off; b: no such thing",
		},
		{
			"none serves, two for the same reason", "tcp", []source{{"a", half(first)}, {"b", half(second)}, {"c", half(second)}}, "", "",
			"the tcp sockets of the test cannot be read: a: broke off; c: no such thing",
		},
		{"none serves, of all sockets", "", []source{{"a", half(first)}}, "", "", "broke off"},
		{"no time is left", "tcp", []source{{"a", half(late)}, {"b", whole}}, "", "", late.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := count([]dump{{name: test.dump, where: " of the test", sources: test.sources}}, (&question{}).tally(grouping{byStatus}))
			message, rows := "", ""
			if err != nil {
				message = err.Error()
			} else {
				rows = rowsOf(found.counts[0])
			}
			if rows != test.rows || strings.Join(found.sources, " ") != test.used || message != test.message {
				t.Errorf("got %s from %v, %v", rows, found.sources, err)
			}
			if err != nil && found.counts != nil {
				t.Errorf("got %v beside the error", found.counts)
			}
		})
	}
}

func TestOnePassServesAllTallies(t *testing.T) {
	var readings atomic.Int32
	dumpOf := func(name string, lines ...string) dump {
		return dump{name: name, sources: []source{{"the test of " + name, func(to counter) error {
			readings.Add(1)
			return made(socketsOf(lines...)).read(to)
		}}}}
	}
	selected, by := configOf(t, "--process", "java").question, grouping{byProcess, byStatus}
	tallies := []*tally{
		(&question{}).tally(by), selected.tally(by), (&question{}).tally(nil), selected.tallyHidden(byProcess), selected.tallyOf(by, "java\x00LISTEN"), selected.tallyOf(by, "?\x00LISTEN"),
	}
	found, err := count([]dump{
		dumpOf("tcp", "3 tcp LISTEN java", "2 tcp CLOSE web", "tcp LISTEN ?"), dumpOf("udp", "4 udp NONE java"), dumpOf("tcp again", "5 tcp CLOSE java"),
	}, tallies...)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"? LISTEN 1, java CLOSE 5, java LISTEN 3, java NONE 4, web CLOSE 2", "? LISTEN 0 to 1, java CLOSE 5, java LISTEN 3, java NONE 4", " 15", " 1", "java LISTEN 3", "? LISTEN 0 to 1",
	} {
		if got := rowsOf(found.counts[i]); got != want {
			t.Errorf("tally %d: got %s, want %s", i, got, want)
		}
	}
	if known, unknown := found.counts[1].sum(); known != 12 || unknown != 1 {
		t.Errorf("got the sum %d, %d", known, unknown)
	}
	if readings.Load() != 3 || strings.Join(found.sources, ",") != "the test of tcp,the test of udp,the test of tcp again" {
		t.Errorf("%d readings from %v", readings.Load(), found.sources)
	}
}

func TestKeysBeyondTheMostAreCountedTogether(t *testing.T) {
	topTwo := (&question{}).tally(grouping{byProcess})
	topTwo.most = 2
	first := dump{name: "first", sources: []source{{"a", made(socketsOf("5 tcp LISTEN a", "2 tcp LISTEN b", "3 tcp LISTEN c", "tcp LISTEN a", "tcp LISTEN d")).read}}}
	found, err := count([]dump{first}, topTwo)
	if got := rowsOf(found.counts[0]); err != nil || got != "a 6, b 2, others 4" {
		t.Errorf("got %s, %v", got, err)
	}
	found, err = count([]dump{first, first, first}, topTwo)
	known, _ := found.counts[0].sum()
	if got := rowsOf(found.counts[0]); err != nil || got != "a 18, b 6, others 12" || known != 36 {
		t.Errorf("got %s of %d, %v", got, known, err)
	}
}

func TestAPanicOfAReaderReachesTheCaller(t *testing.T) {
	defer func() {
		if fault := recover(); fmt.Sprint(fault) != "out of order" {
			t.Errorf("got %v", fault)
		}
	}()
	whole := source{"a", made(socketsOf("tcp LISTEN")).read}
	_, err := count([]dump{{sources: []source{whole}}, {sources: []source{{"b", func(counter) error { panic("out of order") }}, whole}}}, (&question{}).tally(nil))
	t.Errorf("got %v", err)
}

func TestTheLastDumpIsReadWhenTheOthersHaveBeen(t *testing.T) {
	var ended atomic.Int32
	slow := dump{sources: []source{{"a", func(counter) error {
		time.Sleep(10 * time.Millisecond)
		ended.Add(1)
		return nil
	}}}}
	seen := int32(-1)
	last := dump{isLast: true, sources: []source{{"b", func(counter) error {
		seen = ended.Load()
		return nil
	}}}}
	dumps := append(slices.Repeat([]dump{slow}, 2*maxReadings+1), last)
	if _, err := count(dumps, (&question{}).tally(nil)); err != nil || seen != 2*maxReadings+1 {
		t.Errorf("%d dumps were read before the last one, %v", seen, err)
	}
}

func TestQuickDumpsAreReadAtOnceAndInOrder(t *testing.T) {
	var order []int
	dumpOf := func(number int, isQuick bool) dump {
		return dump{isQuick: isQuick, isLast: !isQuick, sources: []source{{"a", func(counter) error {
			order = append(order, number) // would be a race if another one were read meanwhile
			return nil
		}}}}
	}
	if _, err := count([]dump{dumpOf(1, true), dumpOf(2, true), dumpOf(3, false), dumpOf(4, true)}, (&question{}).tally(nil)); err != nil || fmt.Sprint(order) != "[1 2 3 4]" {
		t.Errorf("got %v, %v", order, err)
	}
}

// A source may leave a dump to the next one, which is nobody's fault.
func TestSourceThatPassesIsNoFailure(t *testing.T) {
	passing := func(to counter) error {
		return errors.Join(made(socketsOf("5 tcp LISTEN")).read(to), fmt.Errorf("too small: %w", errPass))
	}
	whole := made(socketsOf("tcp LISTEN")).read
	found, err := count([]dump{{name: "tcp", sources: []source{{"a", passing}, {"b", whole}}}}, (&question{}).tally(grouping{byStatus}))
	if err != nil || rowsOf(found.counts[0]) != "LISTEN 1" || strings.Join(found.sources, " ") != "b" || len(found.failures) > 0 {
		t.Errorf("got %v from %v, %v, %v", found.counts, found.sources, found.failures, err)
	}
	_, err = count([]dump{{name: "tcp", sources: []source{{"a", passing}, {"b", cut(errors.New("no luck"))}}}}, (&question{}).tally(nil))
	if err == nil || err.Error() != "the tcp sockets cannot be read: b: no luck" {
		t.Errorf("got %v", err)
	}
}

func TestFailuresOfSourcesForWhichAnotherServedAreKept(t *testing.T) {
	found, err := count([]dump{{name: "tcp6", sources: []source{{"a", cut(errors.New("no luck"))}, {"b", cut(nil)}}}}, (&question{}).tally(nil))
	if err != nil || len(found.failures) != 1 || fmt.Sprint(found.failures[0].dump, " ", found.failures[0].source, " ", found.failures[0].err) != "tcp6 a no luck" {
		t.Errorf("got %v, %v", found.failures, err)
	}
}

// A number of sockets will do only where types and statuses alone matter.
func TestNumbersCountForPlainTalliesOnly(t *testing.T) {
	selected := configOf(t, "--conn-type", "tcp", "--local-port", "80").question
	byNamespace := (&question{}).tally(grouping{byType, byStatus})
	byNamespace.fields |= fieldNetns
	all := newCounter([]*tally{(&question{}).tally(grouping{byType, byStatus}), (&question{types: []string{"tcp6"}}).tally(nil), selected.tally(nil), byNamespace})
	all.addTo((*tally).isPlain, socketOf("tcp ESTABLISHED"), 50000)
	all.addTo((*tally).isPlain, socketOf("tcp6 ESTABLISHED"), 7)
	all.addTo((*tally).isPlain, socketOf("tcp CLOSE"), 0)
	for i, want := range []string{"tcp ESTABLISHED 50000, tcp6 ESTABLISHED 7", " 7", "", "tcp ESTABLISHED 50000, tcp6 ESTABLISHED 7"} {
		if got := rowsOf(all[i]); got != want {
			t.Errorf("tally %d: got %s", i, got)
		}
	}
	all.addTo(func(t *tally) bool { return !t.isPlain() }, socketOf("tcp ESTABLISHED - - 10.0.0.1:80 -"), 1)
	all.addTo(func(t *tally) bool { return !t.isPlain() }, socketOf("tcp ESTABLISHED - - 10.0.0.1:81 -"), 1)
	if plain, filtered := rowsOf(all[0]), rowsOf(all[2]); plain != "tcp ESTABLISHED 50000, tcp6 ESTABLISHED 7" || filtered != " 1" {
		t.Errorf("got %s, %s", plain, filtered)
	}
}

// However many tallies ask, the key of a socket's group is made once, and anew
// for the next socket in the same record.
func TestKeyIsMadeOnceForASocket(t *testing.T) {
	asked := 0
	counting := &dimension{name: "counting", text: func(s *socket) *string {
		asked++
		return &s.process
	}}
	by, q := grouping{counting}, &question{}
	all := newCounter([]*tally{q.tally(by), q.tally(by), q.tallyOf(by, "web"), q.tallyOf(by, "db")})
	s := socketOf("tcp LISTEN web")
	for i, add := range []func(){
		func() { all.add(s) }, func() { all.addTo((*tally).isPlain, s, 3) }, func() { all.addTo(func(*tally) bool { return true }, s, 1) },
	} {
		s.process = []string{"web", "db", "web"}[i]
		if add(); asked != i+1 {
			t.Errorf("it is made %d times for %d sockets", asked, i+1)
		}
	}
	for i, want := range []string{"db 3, web 2", "db 3, web 2", "web 2", "db 3"} {
		if got := rowsOf(all[i]); got != want {
			t.Errorf("tally %d: got %s", i, got)
		}
	}
}

// A reader leaves out what a tally says that cannot count: it must be right.
func TestTalliesLeaveNothingOutThatCounts(t *testing.T) {
	ephemeral, queues := ephemeralPorts{0: {portRange: portRange{40000, 40099}}}, backlogs{0: {}}
	filtered := configOf(t, "--local-port", "40000-40010", "--remote-address", "10.0.0.0/8").question
	tallies := map[string]*tally{
		"all": (&question{}).tally(nil), "selected": configOf(t, "--conn-type", "tcp6,udp", "--conn-status", "listen,none,close_wait").question.tally(nil), "filtered": filtered.tally(nil),
		"one group": (&question{}).tallyOf(grouping{byType, byStatus}, "tcp6\x00CLOSE_WAIT"), "a status": (&question{}).tallyOf(grouping{byProcess, byStatus}, "web\x00LISTEN"),
		"ports": ephemeral.tally(), "queues": queues.tally(), "one queue": queue{socketType: "tcp", address: "0.0.0.0", port: "40001"}.tally(),
	}
	tallied := map[string]int{}
	for _, kind := range (&question{}).kinds(statuses) {
		for _, ends := range []string{"0.0.0.0:40001", "10.0.0.1:40001 10.0.0.5:80", "10.0.0.1:50000 10.0.0.5:80", "[::]:40001", "[fd00::1]:40001 [fd00::5]:80"} {
			for _, direction := range []string{directionIn, directionOut, directionListen} {
				s := socketOf(strings.Join([]string{kind.socketType, kind.status, "web", "root", ends, "direction=" + direction}, " "))
				s.isWaiting = direction == directionIn && slices.Contains([]string{"ESTABLISHED", "CLOSE_WAIT", "SYN_RECV"}, kind.status)
				for name, one := range tallies {
					s.isKeyed = false
					if one.asks(s) == no {
						continue
					}
					if tallied[name]++; !one.includes(kind.socketType, kind.status) || isOutOfBounds(one, s) {
						t.Errorf("%s: %v counts, and is left out", name, s)
					}
				}
			}
		}
	}
	if len(tallied) != len(tallies) {
		t.Errorf("counted %v", tallied)
	}
}

// isOutOfBounds tells whether a port of the socket is none that the tally asks for.
func isOutOfBounds(one *tally, s *socket) bool {
	if one.bounds == nil {
		return false
	}
	return slices.ContainsFunc(one.bounds(s.netnsID), func(b bound) bool {
		port := map[bool]uint32{false: s.Laddr.Port, true: s.Raddr.Port}[b.isRemote]
		return len(b.ports) > 0 && !slices.ContainsFunc(b.ports, func(r portRange) bool { return r.has(port) })
	})
}

// What counting costs for each socket must not grow with what is asked.
func TestNothingIsAllocatedForASocket(t *testing.T) {
	from := socketsOf(
		"tcp ESTABLISHED java[4711] www-data 10.0.0.1:40000 10.0.0.5:5432", "tcp6 CLOSE_WAIT node[9] nobody [fd00::1]:443 [fd00::2]:50000",
		"udp NONE ? ? 0.0.0.0:53 -", "tcp TIME_WAIT - - 10.0.0.1:40001 10.0.0.5:5432",
	)
	tests := map[string][]string{
		"all dimensions": {"--by", "type,status,process,user,local-address,local-port,remote-address,remote-port,direction"},
		"ports":          {"--local-port", "1-50000,!22", "--remote-port", "5432,50000"},
		"addresses":      {"--local-address", "10.0.0.0/8,fd00::/8", "--remote-address", "!10.9.0.0/16"},
		"names":          {"--process", "java,node,?", "--user", "not:root", "--direction", "in,out,-"},
		"owners":         {"--process", "java,node,?", "--user", "nobody,!root"},
	}
	for _, d := range dimensions {
		if isPortable := d != byNetns && d != byUnit; isPortable || thisSystem == "linux" {
			tests["by "+d.name] = []string{"--by", d.name}
		}
	}
	for name, arguments := range tests {
		t.Run(name, func(t *testing.T) {
			config := configOf(t, arguments...)
			tallied := newCounter([]*tally{config.question.tally(config.levels.by)})
			add := func() {
				for _, s := range from {
					tallied.add(s)
				}
			}
			add() // allocates the rows
			const more = 100
			if allocations := testing.AllocsPerRun(more, add); allocations != 0 {
				t.Errorf("%g allocations for %d sockets", allocations, len(from))
			}
			if known, unknown := tallied[0].sum(); known+unknown < more {
				t.Errorf("%d sockets were counted", known+unknown)
			}
		})
	}
}
