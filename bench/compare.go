//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	// peers is the number of remote addresses that the targets speak of.
	peers = 100
	// slow is the time from which on a command runs less often.
	slow = time.Second
	// longestLoad is the time after which the sockets are taken away.
	longestLoad = 2 * time.Hour
)

// A plan is what has been asked for.
type plan struct {
	loads              []load
	baseline           string
	rounds, slowRounds int
}

// results are the measurements by the load and the name of the command.
type results struct {
	plan
	empty    sample // a program that does nothing
	measured map[load]map[string]*measurement
}

// compare measures the commands with every load.
func (p plan) compare(interrupted context.Context) (*results, error) {
	folder, err := os.MkdirTemp("", "check_network_connections-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	programs, err := build(interrupted, folder, p.baseline)
	if err != nil {
		return nil, err
	}
	r := &results{plan: p, measured: make(map[load]map[string]*measurement)}
	if r.empty, _, err = run(interrupted, programs.measure(), []string{"true"}); err != nil {
		return nil, err
	}
	for _, l := range p.loads {
		if err := r.measure(interrupted, programs, l); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (b *built) measure() string {
	return filepath.Join(b.folder, "measure")
}

// measure measures the commands with one load.
func (r *results) measure(interrupted context.Context, programs *built, l load) error {
	list := programs.commands(l)
	measured := make(map[string]*measurement)
	for _, c := range list {
		measured[c.name] = &measurement{}
	}
	r.measured[l] = measured
	k, _ := kindNamed(l.kind)
	held, err := begin(l)
	if errors.Is(err, errNotPrivate) {
		for _, m := range measured {
			m.problem = err.Error()
		}
		return nil
	}
	if err != nil {
		return err
	}
	for i := range r.rounds {
		fmt.Fprintf(os.Stderr, "\r%s: round %d of %d ", l, i+1, r.rounds)
		if k.lifetime > 0 && time.Since(held.made) > k.lifetime/2 {
			if err := held.stop(); err != nil {
				return err
			}
			if held, err = begin(l); err != nil {
				return err
			}
		}
		round(interrupted, programs.measure(), list, measured, i < r.slowRounds)
		if interrupted.Err() != nil {
			_ = held.stop()
			return errors.New("interrupted")
		}
	}
	fmt.Fprintln(os.Stderr)
	return held.stop()
}

// errNotPrivate says that a load cannot be made where others have sockets.
var errNotPrivate = errors.New("needs a network namespace of its own, as root")

// begin makes a load in a new network namespace, where nothing is left of the
// one before. Some can be made without.
func begin(l load) (*crowd, error) {
	k, _ := kindNamed(l.kind)
	if err := ownNamespace(); err != nil {
		if k.private {
			return nil, errNotPrivate
		}
		fmt.Fprintln(os.Stderr, "The sockets of others are counted too, because this is not possible:", err)
	}
	if k.lifetime > 0 {
		if err := keepTimeWait(); err != nil {
			return nil, err
		}
	}
	return startLoad(shape{load: l, peers: peers, limit: longestLoad})
}

// round runs each of the commands once, in an order that differs from round to
// round, so that none always follows the same other. Slow ones take part only
// when asked for, except for the check itself.
func round(interrupted context.Context, measure string, list []command, measured map[string]*measurement, slowToo bool) {
	for _, i := range rand.Perm(len(list)) {
		m := measured[list[i].name]
		rare := !slowToo && !ofCheck(list[i].name) && m.samples[0].wall > slow
		if m.problem != "" || rare {
			continue
		}
		m.take(interrupted, measure, list[i])
	}
}
