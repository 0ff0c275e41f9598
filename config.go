package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/NETWAYS/go-check"
	"github.com/spf13/pflag"
)

const programName = "check_network_connections"

const description = `Counts the sockets of this host by type (tcp, tcp6, udp, udp6) and status and
compares each count with ranges.`

const examples = `A RANGE is [@][start:][end] as in the Monitoring Plugins guidelines: 10 alerts
below 0 and above 10, 10: below 10, ~:10 above 10, 10:20 outside of 10 to 20,
@10:20 inside. GROUP= narrows it to a type (udp=50), a status (close_wait=10),
both (tcp_close_wait=10) or the sum of all groups (total=20000); the most
specific range applies. Lists are given by commas or by repeating the flag.

Examples:
  check_network_connections
  check_network_connections -w 2000,close_wait=10,time_wait=5000 -c close_wait=50,total=20000
  check_network_connections --conn-type tcp,tcp6 --conn-status listen -c tcp_listen=1:

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
`

// Config is what the command line asks for, checked and ready to use.
type Config struct {
	Answer     string // what --help or --version prints; nothing else is to be done
	Selection  Selection
	Nothing    string  // what to say when no socket is selected
	Expected   []Group // to be reported even with no socket in them
	Warning    Thresholds
	Critical   Thresholds
	AlwaysOK   bool
	NoPerfdata bool
	Recording  *Recording // nil: the live system
	Source     string     // one of sources
	Timeout    time.Duration
	Verbose    bool
	Debug      bool
}

// The values of --source. Only Linux has netlink.
const (
	sourceAuto     = "auto"
	sourceNetlink  = "netlink"
	sourceGopsutil = "gopsutil"
)

var sources = []string{sourceAuto, sourceNetlink, sourceGopsutil}

// arguments is the command line as it was typed. The flags that every plugin
// has are in go-check's own configuration.
type arguments struct {
	*check.Config
	types, statuses   []string
	warning, critical []string
	zero, alwaysOK    bool
	noPerfdata        bool
	source, test      string
	help              bool
}

// newArguments returns the defaults, and the flags bound to them in FlagSet.
//
// The flag set is the single source of truth: README.md and the definitions
// under contrib/ are compared with it.
func newArguments() *arguments {
	a := &arguments{Config: check.NewConfig()}
	flags := a.FlagSet
	flags.Usage = func() {}
	flags.StringArrayVar(&a.types, "conn-type", nil, "Count only sockets of this `TYPE`: all (default), "+strings.Join(socketTypes, ", "))
	flags.StringArrayVar(&a.statuses, "conn-status", nil, "Count only sockets in this `STATUS`: all (default), "+
		strings.ToLower(strings.Join(statuses, ", ")))
	flags.StringArrayVarP(&a.warning, "warning", "w", nil, "WARNING where a count is outside the range: `[GROUP=]RANGE`")
	flags.StringArrayVarP(&a.critical, "critical", "c", nil, "CRITICAL where a count is outside the range: `[GROUP=]RANGE`")
	flags.StringVar(&a.source, "source", sourceAuto, "Read the sockets from this `SOURCE`: netlink (Linux), gopsutil, or auto for the best that works")
	flags.BoolVar(&a.zero, "zero", false, "Report and judge every selected group that this system can have, also those without a socket, as 0")
	flags.BoolVar(&a.alwaysOK, "always-ok", false, "Exit with 0 whatever was found")
	flags.BoolVar(&a.noPerfdata, "no-perfdata", false, "Print no performance data")
	flags.StringVar(&a.test, "test", "", "Judge a recording instead of the live system: `STDOUT[,STDERR[,RETC]]`, two files and an exit code")
	flags.IntVarP(&a.Timeout, "timeout", "t", a.Timeout, "Give up with UNKNOWN after this many `SECONDS`")
	flags.BoolVarP(&a.Verbose, "verbose", "v", false, "Say more about what was done")
	flags.BoolVarP(&a.Debug, "debug", "d", false, "Say what went wrong inside, with a stack trace")
	flags.BoolVarP(&a.PrintVersion, "version", "V", false, "Print the version and exit with 3")
	flags.BoolVarP(&a.help, "help", "h", false, "Print this help and exit with 3")
	return a
}

// usage returns the help text.
func (a *arguments) usage() string {
	return "Usage: " + programName + " [flags]\n\n" + description + "\n\nFlags:\n" +
		a.FlagSet.FlagUsagesWrapped(100) + "\n" + examples
}

// parseArguments checks the command line, without the program's name. The
// error says what is wrong with it and what would be right.
func parseArguments(line []string) (Config, error) {
	a := newArguments()
	if err := a.FlagSet.Parse(line); err != nil {
		return Config{}, flagError(err)
	}
	switch {
	case a.help:
		return Config{Answer: a.usage()}, nil
	case a.PrintVersion:
		return Config{Answer: programName + " version " + version() + "\n"}, nil
	case a.FlagSet.NArg() > 0:
		return Config{}, fmt.Errorf("unexpected argument %s: every argument belongs to a flag, see --help", quote(a.FlagSet.Arg(0)))
	case a.Timeout < 1 || a.Timeout > math.MaxInt32:
		return Config{}, fmt.Errorf("--timeout: %d is not possible, use 1 second or more", a.Timeout)
	}
	return a.check()
}

// check turns what was typed into what it means.
func (a *arguments) check() (Config, error) {
	config := Config{
		AlwaysOK:   a.alwaysOK,
		NoPerfdata: a.noPerfdata,
		Timeout:    time.Duration(a.Timeout) * time.Second,
		Verbose:    a.Verbose,
		Debug:      a.Debug,
	}
	var err error
	if config.Selection.Types, err = parseChoices(a.types, "type", socketTypes, knownType); err != nil {
		return Config{}, fmt.Errorf("--conn-type: %w", err)
	}
	if config.Selection.Statuses, err = parseChoices(a.statuses, "status", statuses, canonicalStatus); err != nil {
		return Config{}, fmt.Errorf("--conn-status: %w", err)
	}
	switch config.Source = a.source; {
	case !slices.Contains(sources, a.source):
		return Config{}, fmt.Errorf("--source: unknown source %s: use %s", quote(a.source), strings.Join(sources, ", "))
	case a.source == sourceNetlink && thisSystem != "linux":
		return Config{}, fmt.Errorf("--source: netlink is only on Linux: use %s or %s", sourceAuto, sourceGopsutil)
	}
	config.Nothing = fmt.Sprintf("No connections of type %q in status %q found.",
		choicesText(config.Selection.Types), choicesText(config.Selection.Statuses))

	if a.zero {
		config.Expected = config.Selection.groups(thisSystem)
	}
	for _, level := range []struct {
		flag       string
		items      []string
		thresholds *Thresholds
	}{
		{"--warning", a.warning, &config.Warning},
		{"--critical", a.critical, &config.Critical},
	} {
		if *level.thresholds, err = parseThresholds(splitLists(level.items)); err == nil {
			err = config.Selection.allows(*level.thresholds)
		}
		if err != nil {
			return Config{}, fmt.Errorf("%s: %w", level.flag, err)
		}
		for groupName := range *level.thresholds {
			if group, full := named(groupName); full {
				config.Expected = append(config.Expected, group)
			}
		}
	}
	if a.FlagSet.Changed("test") {
		if config.Recording, err = parseRecording(a.test); err != nil {
			return Config{}, fmt.Errorf("--test: %w", err)
		}
	}
	return config, nil
}

// splitLists returns the items of lists that are separated by commas.
func splitLists(lists []string) []string {
	var items []string
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	return items
}

func knownType(spelling string) (name string, known bool) {
	name = strings.ToLower(spelling)
	return name, slices.Contains(socketTypes, name)
}

// parseChoices returns the canonical names of the items, each once, in the
// order given; none where everything is wanted.
func parseChoices(lists []string, what string, choices []string, canonical func(string) (string, bool)) ([]string, error) {
	var chosen []string
	all := false
	for _, item := range splitLists(lists) {
		name, known := canonical(item)
		switch {
		case strings.EqualFold(item, "all"):
			all = true
		case !known:
			return nil, fmt.Errorf("unknown %s %s: use all, %s", what, quote(item), strings.ToLower(strings.Join(choices, ", ")))
		case !slices.Contains(chosen, name):
			chosen = append(chosen, name)
		}
	}
	if all {
		return nil, nil
	}
	return chosen, nil
}

func choicesText(chosen []string) string {
	if len(chosen) == 0 {
		return "all"
	}
	return strings.ToLower(strings.Join(chosen, ","))
}

// allows returns an error where a threshold is for a group that can never be
// counted.
func (s Selection) allows(thresholds Thresholds) error {
	for name := range thresholds {
		group, full := named(name)
		switch {
		case name == "" || name == totalGroup:
			continue
		case full && isUDP(group.Type) != (group.Status == statusNone):
			return fmt.Errorf("the group %s cannot exist: UDP sockets have the status none, TCP sockets all the others", quote(name))
		case !full && slices.Contains(socketTypes, name):
			group = Group{Type: name}
		case !full:
			group = Group{Status: name}
		}
		if !s.includesSome(group) {
			return fmt.Errorf("the group %s is left out by --conn-type or --conn-status", quote(name))
		}
	}
	return nil
}

// includesSome tells whether some socket of the group can be selected. An empty
// type or status stands for any.
func (s Selection) includesSome(group Group) bool {
	for _, socketType := range socketTypes {
		for _, status := range statuses {
			if (group.Type == "" || group.Type == socketType) &&
				(group.Status == "" || group.Status == status) &&
				isUDP(socketType) == (status == statusNone) && s.includes(socketType, status) {
				return true
			}
		}
	}
	return false
}

// flagError says what pflag found, without the names of Go functions and types.
func flagError(err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown):
		flag := "--" + unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			flag = "-" + unknown.GetSpecifiedName()
		}
		return fmt.Errorf("unknown flag %s: see --help for those that there are", quote(flag))
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		wanted := map[string]string{"bool": "true or false", "int": "a whole number"}[invalid.GetFlag().Value.Type()]
		return fmt.Errorf("--%s: %s is not %s", invalid.GetFlag().Name, quote(invalid.GetValue()), wanted)
	}
	return fmt.Errorf("%s: see --help", printable(err.Error()))
}

// parseRecording reads STDOUT[,STDERR[,RETC]].
func parseRecording(text string) (*Recording, error) {
	parts := strings.Split(text, ",")
	if parts[0] == "" || len(parts) > 3 {
		return nil, fmt.Errorf("%s is not STDOUT[,STDERR[,RETC]]: use a file, a file and an exit code", quote(text))
	}
	recording := &Recording{Path: parts[0]}
	if len(parts) > 1 {
		recording.ErrorsPath = parts[1]
	}
	if len(parts) > 2 && parts[2] != "" {
		code, err := strconv.Atoi(parts[2])
		if err != nil {
			return nil, fmt.Errorf("the exit code %s is not a whole number", quote(parts[2]))
		}
		recording.ExitCode = code
	}
	return recording, nil
}
