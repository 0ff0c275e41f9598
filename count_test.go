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
func cut(err error, sockets ...*Socket) func(counter) error {
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
		{"none serves, of all sockets", "", []source{{"a", half(first)}}, "", "", "broke off"},
		{"no time is left", "tcp", []source{{"a", half(late)}, {"b", whole}}, "", "", late.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := count([]dump{{name: test.dump, where: " of the test", sources: test.sources}}, (&Question{}).tally(grouping{byStatus}))
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
	question := configOf(t, "--process", "java").Question
	tallies := []*tally{
		(&Question{}).tally(grouping{byType, byStatus}), question.tally(grouping{byProcess}), (&Question{}).tally(grouping{}),
		question.tallyHidden(byProcess), question.tallyOf(grouping{byStatus}, "LISTEN"),
	}
	found, err := count([]dump{
		dumpOf("tcp", "3 tcp LISTEN java", "2 tcp CLOSE web", "tcp LISTEN ?"), dumpOf("udp", "4 udp NONE java"), dumpOf("tcp again", "5 tcp CLOSE java"),
	}, tallies...)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"tcp CLOSE 7, tcp LISTEN 4, udp NONE 4", "? 0 to 1, java 12", " 15", " 1", "LISTEN 3 to 4"} {
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
	topTwo := (&Question{}).tally(grouping{byProcess})
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
	_, err := count([]dump{{sources: []source{whole}}, {sources: []source{{"b", func(counter) error { panic("out of order") }}, whole}}}, (&Question{}).tally(nil))
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
	if _, err := count(dumps, (&Question{}).tally(nil)); err != nil || seen != 2*maxReadings+1 {
		t.Errorf("%d dumps were read before the last one, %v", seen, err)
	}
}

// What counting costs for each socket must not grow with what is asked.
func TestNothingIsAllocatedForASocket(t *testing.T) {
	from := socketsOf(
		"tcp ESTABLISHED java[4711] www-data 10.0.0.1:40000 10.0.0.5:5432", "tcp6 CLOSE_WAIT node[9] nobody [fd00::1]:443 [fd00::2]:50000",
		"udp NONE ? ? 0.0.0.0:53 -", "tcp TIME_WAIT - - 10.0.0.1:40001 10.0.0.5:5432",
	)
	tests := map[string][]string{
		"all dimensions": {"--by", "type,status,process,user,local-address,local-port,remote-address,remote-port"},
		"ports":          {"--local-port", "1-50000,!22", "--remote-port", "5432,50000"},
		"addresses":      {"--local-address", "10.0.0.0/8,fd00::/8", "--remote-address", "!10.9.0.0/16"},
		"owners":         {"--process", "java,node,?", "--user", "nobody,!root"},
	}
	for _, d := range dimensions {
		if d != byNetns || thisSystem == "linux" {
			tests["by "+d.name] = []string{"--by", d.name}
		}
	}
	for name, arguments := range tests {
		t.Run(name, func(t *testing.T) {
			config := configOf(t, arguments...)
			counted := newCounter([]*tally{config.Question.tally(config.Levels.by)})
			add := func() {
				for _, s := range from {
					counted.add(s)
				}
			}
			add() // allocates the rows
			const more = 100
			if allocations := testing.AllocsPerRun(more, add); allocations != 0 {
				t.Errorf("%g allocations for %d sockets", allocations, len(from))
			}
			if known, unknown := counted[0].sum(); known+unknown < more {
				t.Errorf("%d sockets were counted", known+unknown)
			}
		})
	}
}
