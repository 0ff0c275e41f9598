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
	"sync"
	"syscall"
	"time"

	"github.com/NETWAYS/go-check"
)

// quickRun is how long a run may last before it begins to handle signals.
const quickRun = 50 * time.Millisecond

func main() {
	// With many groups this takes a fifth less memory and hardly more time.
	debug.SetGCPercent(25)
	// Go would start a thread for each processor; two do nearly all that can be done at once.
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
	// A reader that is gone must show up as a failed write, not kill us.
	signal.Ignore(syscall.SIGPIPE)
	check.PrintStack = false
	defer check.CatchPanic()

	config, err := parseArguments(os.Args[1:])
	switch {
	case err != nil:
		exit(check.Unknown, errorText(err))
	case config.help:
		exit(check.Unknown, usage())
	case config.version:
		exit(check.Unknown, programName+" version "+version()+"\n")
	case config.debug:
		check.PrintStack = true
		config.log = debugLog{os.Stderr}
		config.log.printf("%s %s, %s/%s, user %d", programName, version(), runtime.GOOS, runtime.GOARCH, os.Geteuid())
	}
	// Only for its signals: its own timeout can come too late to be printed. Waiting for
	// signals takes a thread, which is a tenth of what a quick run costs.
	time.AfterFunc(quickRun, func() { check.HandleTimeout(math.MaxInt32) })
	time.AfterFunc(config.timeout, func() {
		exitWhenOutputBlocks()
		exit(check.Unknown, firstLine(check.Unknown, "Timeout reached"))
	})

	ctx, cancel := context.WithTimeout(context.Background(), config.timeout)
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

// runCheck reads what is to be checked, and returns the state and the whole output.
func runCheck(ctx context.Context, config *options) (check.Status, string, error) {
	if config.recording != nil {
		return checkSockets(ctx, config, config.recording, nil)
	}
	live, err := openHost(config)
	if err != nil {
		return check.Unknown, "", err
	}
	limits, err := live.limits(config.levels.asksFor)
	if err != nil {
		return check.Unknown, "", err
	}
	return checkSockets(ctx, config, live, limits)
}

// checkSockets counts and judges what the reader reads.
func checkSockets(ctx context.Context, config *options, from reader, limits []limit) (check.Status, string, error) {
	started := time.Now()
	asked, by := &config.question, config.levels.by
	spots := asked.blindSpots(by, config.recording != nil)
	tallies := []*tally{asked.tally(by)}
	for _, spot := range spots {
		tallies = append(tallies, asked.tallyHidden(spot.dimension))
	}
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
	r := config.levels.judge(found.counts[0], limits, found.counts[1+len(spots):])
	isJudged := len(config.levels.warning)+len(config.levels.critical) > 0
	if err := spots.check(r, isJudged, config.alwaysOK); err != nil {
		return check.Unknown, "", err
	}
	lines := append(blame(ctx, from, config, r), notes(config, found, spots, duration)...)
	state, output := report(r, lines, config)
	return state, output, nil
}

// blame returns what is told of the culprits, or why nothing can be told. That may
// take half of the time that is left: what was judged must not be lost over it.
func blame(ctx context.Context, from reader, config *options, r *results) []string {
	all := config.question.violations(config.levels.by, r)
	if config.noDetails || len(all) == 0 {
		return nil
	}
	if deadline, isSet := ctx.Deadline(); isSet {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	type answers struct {
		lines []string
		most  string
		err   error
	}
	done := make(chan answers, 1)
	go func() { // not all that it waits for looks at the context
		var a answers
		defer func() {
			if fault := recover(); fault != nil {
				a.err = fmt.Errorf("fault %v", fault)
			}
			done <- a
		}()
		a.lines, a.most, a.err = culprits(func(tallies []*tally) []dump { return from.dumps(ctx, tallies) }, all, config.recording == nil && !config.levels.by.has(byProcess) && !config.question.hasFilter(byProcess))
	}()
	var a answers
	select {
	case a = <-done:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	switch {
	case errors.Is(a.err, context.DeadlineExceeded):
		return []string{"no time was left to find the holders"}
	case a.err != nil:
		return []string{"who holds the sockets cannot be told: " + a.err.Error()}
	case all[0].figure != nil:
		all[0].figure.blame = a.most
	case !config.levels.by.has(byProcess) && !config.levels.by.has(byUnit): // otherwise the name of the group says it
		r.blamed, r.blame = all[0].key, a.most
	}
	return a.lines
}

// exitWhenOutputBlocks ends the program one second later, or at a later second, if
// nobody takes its output then: writing to a full pipe blocks for ever. A starved
// program, whose output is only late, goes on.
func exitWhenOutputBlocks() {
	time.AfterFunc(time.Second, func() {
		if outputBlocks() {
			check.BaseExit(check.Unknown)
		}
		exitWhenOutputBlocks()
	})
}

var exiting sync.Mutex

// exit prints the text and ends the program with the state. A text that could
// not be delivered ends it as UNKNOWN: a monitoring system takes silence with
// exit code 0 for OK.
func exit(state check.Status, text string) {
	exiting.Lock() // for good: the timeout may come while another text is being written
	if _, err := os.Stdout.WriteString(text); err != nil || outputIsClosed() {
		state = check.Unknown
	}
	check.BaseExit(state)
}
