// Command check_network_connections is a monitoring plugin that counts the
// sockets of a host by type and status and compares the counts with ranges.
//
// The data flows one way: flags (config.go, filter.go) → records
// (connections_*.go, fixture.go) → groups (connections.go, groups.go) → verdict
// (threshold.go) → text (report.go). ephemeral.go counts what is judged besides
// groups, culprits.go what is said of a violation, and unseen.go knows what must
// not be answered.
package main

import (
	"context"
	"errors"
	"fmt"
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
	if err != nil {
		exit(check.Unknown, errorText(err))
	}
	if config.Answer != "" {
		exit(check.Unknown, config.Answer)
	}
	if config.Debug {
		check.PrintStack = true
		config.Log = debugLog{os.Stderr}
		config.Log.printf("%s %s, %s/%s, user %d", programName, version(), runtime.GOOS, runtime.GOARCH, os.Geteuid())
	}
	go check.HandleTimeout(int(config.Timeout / time.Second))
	// Where nobody takes the output, writing it would not end either.
	time.AfterFunc(config.Timeout+time.Second, func() { check.BaseExit(check.Unknown) })

	ctx, cancel := context.WithTimeout(context.Background(), config.Timeout)
	defer cancel()
	state, output, err := runCheck(ctx, config)
	if errors.Is(err, context.DeadlineExceeded) {
		select {} // the timeout handler has the last word
	}
	if err != nil {
		exit(check.Unknown, errorText(err))
	}
	exit(state, output)
}

// runCheck counts and judges, and returns the state and the whole output.
func runCheck(ctx context.Context, config Config) (check.Status, string, error) {
	if err := config.Filter.checkUsers(config.Recording); err != nil {
		return check.Unknown, "", err
	}
	started := time.Now()
	reader, err := partsOf(config)
	if err != nil {
		return check.Unknown, "", err
	}
	parts := func(config Config) []part { return reader(ctx, config) }
	reading, err := count(parts(config), config)
	if err == nil {
		err = reading.hidden(config)
	}
	if err != nil {
		return check.Unknown, "", err
	}
	duration := took(started)
	var ports *EphemeralPorts
	if config.names(ephemeralGroup) {
		if ports, err = ephemeralPorts(parts, config); err != nil {
			return check.Unknown, "", err
		}
	}
	items := judge(reading.Groups, ports, config)
	if !config.AlwaysOK && isDoubtful(items, config) {
		return check.Unknown, "", errors.New("the verdict depends on what is not seen: " + reading.unseenText(config))
	}
	state, output := report(items, append(details(ctx, reader, items, config), notes(reading, duration, config)...), config)
	return state, output, nil
}

// details returns the culprits, or why they cannot be told. They may take half
// of the time that is left: what was judged must not be lost over them.
func details(ctx context.Context, reader partsReader, items []Item, config Config) []string {
	groups := worstGroups(items)
	if config.NoDetails || len(groups) == 0 {
		return nil
	}
	if deadline, set := ctx.Deadline(); set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	type answer struct {
		lines []string
		err   error
	}
	done := make(chan answer, 1)
	go func() { // not all that it waits for looks at the context
		var a answer
		defer func() {
			if fault := recover(); fault != nil {
				a.err = fmt.Errorf("fault %v", fault)
			}
			done <- a
		}()
		a.lines, a.err = culprits(func(config Config) []part { return reader(ctx, config) }, groups, config)
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	switch {
	case errors.Is(a.err, context.DeadlineExceeded):
		return []string{"who holds the sockets cannot be told in time"}
	case a.err != nil:
		return []string{"who holds the sockets cannot be told: " + a.err.Error()}
	}
	return a.lines
}

// partsReader returns what is to be read for a configuration, until the context
// ends.
type partsReader func(context.Context, Config) []part

// partsOf returns the reader of the recording where one is given, else of the
// live system.
func partsOf(config Config) (partsReader, error) {
	if config.Recording != nil {
		return func(_ context.Context, config Config) []part {
			return []part{{sources: []source{{"the recording", config.Recording.records()}}}}
		}, nil
	}
	host, err := findHost(config)
	return host.parts, err
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
