package main

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// thisSystem is the operating system that is checked.
const thisSystem = runtime.GOOS

// options is what the command line asks for, checked and ready to use.
type options struct {
	Question   question
	Levels     levels
	Top        int // how many groups are printed where there can be many, 0 for all
	AlwaysOK   bool
	NoPerfdata bool
	NoDetails  bool
	Netns      string   // netnsSelf, netnsAll, a name, a process id or a path
	Source     string   // one of sources
	Recording  *fixture // nil: the live system
	Timeout    time.Duration
	Verbose    bool
	Debug      bool
	Help       bool
	Version    bool
	Log        debugLog
}

// The values of --source. Only Linux has netlink and /proc/net.
const (
	sourceAuto     = "auto"
	sourceNetlink  = "netlink"
	sourceList     = "netlink-list" // netlink without the kernel's totals
	sourceProc     = "proc"         // /proc/net
	sourceGopsutil = "gopsutil"
)

var sources = []string{sourceAuto, sourceNetlink, sourceList, sourceProc, sourceGopsutil}

// sourceTotals is how a reading names netlink with the kernel's totals.
const sourceTotals = "netlink with ESTABLISHED from the kernel's totals"

// Values of --netns.
const (
	netnsSelf = "self"
	netnsAll  = "all"
)

// parseArguments checks the command line, without the program's name. The
// error says what is wrong with it and what would be right.
func parseArguments(line []string) (*options, error) {
	c := &options{}
	flags := newFlags(c)
	if err := flags.Parse(line); err != nil {
		return nil, flagError(err)
	}
	switch {
	case c.Help || c.Version:
		return c, nil
	case flags.NArg() > 0:
		return nil, argumentError(flags)
	}
	p := argumentParser{c, flags, flags.Changed("test")}
	for _, step := range []struct {
		flag string
		read func() error
	}{
		{"timeout", p.takeTimeout},
		{"conn-type", p.takeTypes},
		{"conn-status", p.takeStatuses},
		{"by", p.takeGrouping},
		{"top", p.takeTop},
		{"", p.takeFilters},
		{"min-idle", p.takeMinIdle},
		{"netns", p.takeNetns},
		{"source", p.takeSource},
		{"zero", p.takeZero},
		{"warning", func() error { return p.takeThresholds("warning", &c.Levels.warning) }},
		{"critical", func() error { return p.takeThresholds("critical", &c.Levels.critical) }},
		{"test", p.takeRecording},
	} {
		if err := step.read(); err != nil && step.flag != "" {
			return nil, fmt.Errorf("--%s: %w", step.flag, err)
		} else if err != nil {
			return nil, err
		}
	}
	p.decideEmptiness()
	return c, nil
}

// argumentParser turns what was typed into what it means, a flag at a time.
type argumentParser struct {
	*options
	flags       *pflag.FlagSet
	isRecording bool
}

func (p argumentParser) list(flag string) []string {
	return *p.flags.Lookup(flag).Value.(*repeated)
}

// onLiveLinux tells whether there is a kernel to ask for what only Linux knows.
func (p argumentParser) onLiveLinux() bool { return thisSystem == "linux" && !p.isRecording }

func errOnlyLinux(what string) error {
	return fmt.Errorf("%s is only known on a live Linux system", what)
}

func (p argumentParser) takeTimeout() error {
	typed, _ := p.flags.GetString("timeout")
	patience, err := parseDuration(typed)
	if err != nil || patience%time.Second != 0 || patience < time.Second || patience > math.MaxInt32*time.Second {
		return fmt.Errorf("%s is not possible, use 1 to %d seconds", quote(typed), math.MaxInt32)
	}
	p.Timeout = patience
	return nil
}

func (p argumentParser) takeTypes() (err error) {
	p.Question.Types, p.Question.NotTypes, err = parseNames(p.list("conn-type"), "type", socketTypes, knownType)
	if err == nil && len(p.Question.kinds(statuses)) == 0 {
		err = errNothingLeft
	}
	return err
}

func (p argumentParser) takeStatuses() (err error) {
	p.Question.Statuses, p.Question.NotStatuses, err = parseNames(p.list("conn-status"), "status", statusesOf(thisSystem), canonicalStatus)
	for _, status := range p.Question.Statuses {
		if err == nil && !p.isRecording {
			err = checkStatus(thisSystem, status)
		}
	}
	if err == nil && len(p.Question.kinds(statuses)) == 0 {
		err = errors.New("no socket can match: UDP sockets have the status none, TCP sockets all the others")
		if len(p.Question.NotTypes)+len(p.Question.NotStatuses) > 0 {
			err = errNothingLeft
		}
	}
	return err
}

func (p argumentParser) takeGrouping() error {
	for _, item := range splitLists(p.list("by")) {
		d := findDimension(item)
		switch {
		case d == nil:
			return errUnknownDimension(item)
		case p.Levels.by.has(d):
			return fmt.Errorf("the dimension %s is given twice", quote(item))
		case (d == byNetns || d == byUnit) && !p.onLiveLinux() && !p.isRecording:
			return errOnlyLinux(d.name)
		}
		p.Levels.by = append(p.Levels.by, d)
	}
	if len(p.Levels.by) == 0 {
		p.Levels.by = grouping{byType, byStatus}
	}
	return nil
}

func (p argumentParser) takeTop() error {
	top, _ := p.flags.GetInt64("top")
	if top < 0 || top > math.MaxInt32 {
		return fmt.Errorf("%d is not possible, use 0 for all groups, or 1 to %d", top, math.MaxInt32)
	}
	p.Top = int(top)
	return nil
}

func (p argumentParser) takeFilters() error {
	for _, d := range dimensions {
		if d.item == nil || !p.flags.Changed(d.name) {
			continue
		}
		if d == byUnit && !p.onLiveLinux() && !p.isRecording {
			return fmt.Errorf("--unit: %w", errOnlyLinux("the unit of a socket"))
		}
		f, err := parseFilter(d, p.list(d.name))
		if err == nil && d == byUser {
			err = p.users(f)
		}
		if err != nil {
			return fmt.Errorf("--%s: %w", d.name, err)
		}
		p.Question.Filters = append(p.Question.Filters, f)
	}
	return nil
}

// users returns an error where a user of the filter is not known here.
func (p argumentParser) users(f filter) error {
	for _, item := range slices.Concat(f.include, f.exclude) {
		if _, err := strconv.ParseUint(item.text, 10, 32); err == nil && (thisSystem != "windows" || p.isRecording) || !isTold(item.text) || strings.ContainsAny(item.text, "*?") {
			continue
		}
		if p.isRecording {
			return fmt.Errorf("a recording has the ids of users, not the name %s: use an id", quote(item.text))
		}
		if !userExists(item.text) {
			return fmt.Errorf("unknown user %s: use a name or an id that this host knows", quote(item.text))
		}
	}
	return nil
}

// longestIdle is the longest time without traffic that can be told: the kernel
// has 32 bits for the milliseconds (struct tcp_info in linux/tcp.h).
const longestIdle = math.MaxUint32 * time.Millisecond

func (p argumentParser) takeMinIdle() error {
	typed, _ := p.flags.GetString("min-idle")
	if !p.flags.Changed("min-idle") {
		return nil
	}
	idle, err := parseDuration(typed)
	switch {
	case err != nil || idle <= 0:
		return fmt.Errorf("%s is not a duration: use one above 0 such as 90s, 5m or 1d", quote(typed))
	case idle > longestIdle:
		return fmt.Errorf("%s is more than the kernel counts: use at most %dh", quote(typed), longestIdle/time.Hour)
	case !p.onLiveLinux():
		return errOnlyLinux("how long a connection is idle")
	}
	p.Question.MinIdle, p.Question.MinIdleTyped = idle, typed
	switch types := p.Question.Types; {
	case len(types) > 0 && !slices.Contains(types, "tcp") && !slices.Contains(types, "tcp6"):
		return errors.New("only TCP connections can be idle: add tcp or tcp6 to --conn-type")
	case len(p.Question.kinds(statuses)) == 0:
		return fmt.Errorf("only connections can be idle: add one of %s to --conn-status", strings.ToLower(strings.Join(openStatuses, ", ")))
	}
	return nil
}

func (p argumentParser) takeNetns() error {
	switch {
	case p.Netns == "":
		return errors.New("give self, all, a name under /run/netns, a process id or a path")
	case p.Netns != netnsSelf && !p.onLiveLinux():
		return errOnlyLinux("a network namespace")
	}
	return nil
}

func (p argumentParser) takeSource() error {
	isLess := p.Source == sourceProc || p.Source == sourceGopsutil
	switch {
	case !slices.Contains(sources, p.Source):
		return fmt.Errorf("unknown source %s: use %s", quote(p.Source), strings.Join(sources, ", "))
	case p.Source != sourceAuto && p.Source != sourceGopsutil && thisSystem != "linux":
		return fmt.Errorf("%s is only on Linux: use %s or %s", p.Source, sourceAuto, sourceGopsutil)
	case isLess && p.Question.MinIdle > 0:
		return fmt.Errorf("%s does not know how long a connection is idle, which needs netlink: leave out --min-idle or --source", p.Source)
	case isLess && (p.Question.hasFilter(byUnit) || p.Levels.by.has(byUnit)):
		return fmt.Errorf("%s does not know units, which need netlink: leave out unit or --source", p.Source)
	case p.Source == sourceGopsutil && p.Netns != netnsSelf:
		return errors.New("gopsutil reads this network namespace only: leave out --netns or --source")
	}
	return nil
}

func (p argumentParser) takeZero() error {
	if p.Levels.isZero, _ = p.flags.GetBool("zero"); !p.Levels.isZero {
		return nil
	}
	if !p.Levels.by.isPlain() {
		return errors.New("works only with --by type and status: other groups are not known beforehand")
	}
	for _, k := range p.Question.kinds(statusesOf(thisSystem)) {
		s := socket{Proto: k.socketType}
		s.Status = k.status
		p.name(string(p.Levels.by.key(nil, &s)), "")
	}
	return nil
}

// name has a group reported even if it has no socket.
func (p argumentParser) name(key, ending string) {
	if one := (groupName{key: key, mark: ending}); !slices.Contains(p.Levels.named, one) {
		p.Levels.named = append(p.Levels.named, one)
	}
}

// thresholds reads the thresholds of a level. The groups that they name in full
// are reported also without a socket.
func (p argumentParser) takeThresholds(flag string, level *thresholds) (err error) {
	of := statuses
	if !p.isRecording {
		of = statusesOf(thisSystem)
	}
	*level, err = parseThresholds(p.list(flag), p.Levels.by, func(name groupName) (groupName, error) {
		p.Levels.isJudgedEmpty = true
		switch {
		case isLimit(name.key) && !p.onLiveLinux():
			return name, errOnlyLinux(name.text)
		case isLimit(name.key) && p.Source == sourceGopsutil:
			return name, fmt.Errorf("gopsutil does not know %s: leave it out, or --source", name.text)
		case isLimit(name.key) || name.key == totalGroup:
			return name, nil
		}
		if status := p.Levels.by.value(name.key, byStatus); status != "" && !p.isRecording {
			if err := checkStatus(thisSystem, status); err != nil {
				return name, err
			}
		}
		if !p.isRecording { // which has the ids of users
			name.key = p.Levels.by.with(name.key, byUser, firstUserName)
		}
		if p.Levels.by.isWhole(name.key) {
			p.name(name.key, name.mark)
		} else if !slices.Contains(p.Levels.parts, name.key) {
			p.Levels.parts = append(p.Levels.parts, name.key)
		}
		return name, p.Question.checkKey(p.Levels.by, name.key, name.text, of)
	})
	for _, name := range limitNames() {
		if t, isSet := (*level)[name]; err == nil && isSet && (t.Lower > 100 || t.Upper > 100 && !t.Inside && !math.IsInf(t.Upper, 1)) {
			sockets := map[string]string{limitTimeWait.name: ", or time_wait=RANGE for the number of sockets"}
			err = fmt.Errorf("%s is a percentage: use a range within 0 to 100%s", name, sockets[name])
		}
	}
	return err
}

// decideEmptiness decides whether a range for all groups judges that there is none, as
// it does with any GROUP=RANGE. With the flags of the check that this one replaces
// alone that is OK.
func (p argumentParser) decideEmptiness() {
	isOurs := len(p.Question.Filters) > 0 || p.flags.Changed("by") || p.Question.MinIdle > 0 || p.Netns != netnsSelf
	p.Levels.isJudgedEmpty = p.Levels.isJudgedEmpty || isOurs || len(p.Levels.named) > 0
}

func (p argumentParser) takeRecording() (err error) {
	if !p.isRecording {
		return nil
	}
	typed, _ := p.flags.GetString("test")
	p.Recording, err = parseRecording(typed)
	return err
}
