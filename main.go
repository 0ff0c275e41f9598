// Command check_network_connections is a monitoring plugin that counts the
// sockets of a host by type and status and compares the counts with ranges.
//
// The data flows one way: flags (config.go) → records (connections_*.go,
// fixture.go) → groups (connections.go) → verdict (threshold.go) → text
// (report.go).
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/NETWAYS/go-check"
)

func main() {
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
	check.PrintStack = config.Debug
	go check.HandleTimeout(int(config.Timeout / time.Second))

	ctx, cancel := context.WithTimeout(context.Background(), config.Timeout)
	defer cancel()
	started := time.Now()
	reading, err := count(parts(ctx, config), config.Selection, config.Expected)
	if errors.Is(err, context.DeadlineExceeded) {
		select {} // the timeout handler has the last word
	}
	if err != nil {
		exit(check.Unknown, errorText(err))
	}
	items := judge(reading.Groups, config)
	exit(report(items, notes(reading, time.Since(started), config), config))
}

// parts returns what is to be counted: the recording where one is given, else
// the live system.
func parts(ctx context.Context, config Config) []part {
	if config.Recording != nil {
		return []part{{sources: []source{{"the recording", config.Recording.records()}}}}
	}
	return liveParts(ctx, config)
}

// exit prints the text and ends the program with the state. A text that could
// not be delivered ends it as UNKNOWN: a monitoring system takes silence with
// exit code 0 for OK.
func exit(state check.Status, text string) {
	if _, err := os.Stdout.WriteString(text); err != nil {
		state = check.Unknown
	}
	check.BaseExit(state)
}
