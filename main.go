// Command check_network_connections is a monitoring plugin that counts the
// sockets of a host by type and status and compares the counts with ranges.
//
// The data flows one way: flags (config.go) → dumps of sockets (read_*.go,
// recording.go) → counts (count.go) → verdicts (judge.go) → text (report.go).
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/NETWAYS/go-check"
)

func main() {
	// With many groups this takes a fifth less memory and hardly more time.
	debug.SetGCPercent(25)
	// A reader that is gone must show up as a failed write, not kill us.
	signal.Ignore(syscall.SIGPIPE)
	check.PrintStack = false
	defer check.CatchPanic()

	config, err := parseArguments(os.Args[1:])
	switch {
	case err != nil:
		exit(check.Unknown, errorText(err))
	case config.Help:
		exit(check.Unknown, usage())
	case config.Version:
		exit(check.Unknown, programName+" version "+version()+"\n")
	case config.Debug:
		check.PrintStack = true
		config.Log = debugLog{os.Stderr}
		config.Log.printf("%s %s, %s/%s, user %d", programName, version(), runtime.GOOS, runtime.GOARCH, os.Geteuid())
	}
	go check.HandleTimeout(math.MaxInt32) // for signals: its own timeout can come too late to be printed
	time.AfterFunc(config.Timeout, func() {
		// Writing to a full pipe blocks for ever, so exit hard one second after the timeout.
		time.AfterFunc(time.Second, func() { check.BaseExit(check.Unknown) })
		exit(check.Unknown, firstLine(check.Unknown, "Timeout reached"))
	})

	ctx, cancel := context.WithTimeout(context.Background(), config.Timeout)
	defer cancel()
	state, output, err := runCheck(ctx, config)
	if errors.Is(err, context.DeadlineExceeded) {
		select {} // the timeout has the last word
	}
	if err != nil {
		exit(check.Unknown, errorText(err))
	}
	exit(state, output)
}

// reader tells what is to be read for tallies: a recording, or this host.
type reader interface {
	dumps(context.Context, []*tally) []dump
}

// runCheck counts and judges, and returns the state and the whole output.
func runCheck(ctx context.Context, config *Config) (check.Status, string, error) {
	started := time.Now()
	from, limits, err := open(config)
	if err != nil {
		return check.Unknown, "", err
	}
	spots := config.blindSpots()
	tallies := []*tally{config.Question.tally(config.Levels.by)}
	tallies = append(tallies, config.tallyHidden(spots)...)
	for _, l := range limits {
		if users := l.tally(); users != nil {
			tallies = append(tallies, users)
		}
	}
	found, err := count(from.dumps(ctx, tallies), tallies...)
	if err != nil {
		return check.Unknown, "", err
	}
	duration := took(started)
	for i, spot := range spots {
		spot.sockets, _ = found.counts[1+i].sum()
	}
	r := config.Levels.judge(found.counts[0], limits, found.counts[1+len(spots):])
	if err := spots.check(config, r); err != nil {
		return check.Unknown, "", err
	}
	state, output := report(r, append(details(ctx, from, config, r), notes(config, found, spots, duration)...), config)
	return state, output, nil
}

// open returns what reads the sockets, and the limits that are judged.
func open(config *Config) (reader, []limit, error) {
	if config.Recording != nil {
		return config.Recording, nil, nil
	}
	live, err := openHost(config)
	if err != nil {
		return nil, nil, err
	}
	limits, err := live.limits(config.Levels.asksFor)
	return live, limits, err
}

// details returns the culprits, or why they cannot be told. They may take half
// of the time that is left: what was judged must not be lost over them.
func details(ctx context.Context, from reader, config *Config, r *results) []string {
	all := config.violations(r)
	if config.NoDetails || len(all) == 0 {
		return nil
	}
	if deadline, set := ctx.Deadline(); set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	var lines []string
	done := make(chan error, 1)
	go func() { // not all that it waits for looks at the context
		var err error
		defer func() {
			if fault := recover(); fault != nil {
				err = fmt.Errorf("fault %v", fault)
			}
			done <- err
		}()
		lines, err = culprits(func(tallies []*tally) []dump { return from.dumps(ctx, tallies) }, all, config.Recording == nil && !config.asksFor(byProcess))
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return []string{"who holds the sockets cannot be told in time"}
	case err != nil:
		return []string{"who holds the sockets cannot be told: " + err.Error()}
	}
	return lines
}

// exit prints the text and ends the program with the state. A text that could
// not be delivered ends it as UNKNOWN: a monitoring system takes silence with
// exit code 0 for OK.
func exit(state check.Status, text string) {
	if _, err := os.Stdout.WriteString(text); err != nil || outputIsClosed() {
		state = check.Unknown
	}
	check.BaseExit(state)
}
