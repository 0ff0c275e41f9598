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
	question   question
	levels     levels
	top        int // how many groups are printed where there can be many, 0 for all
	alwaysOK   bool
	noPerfdata bool
	noDetails  bool
	netns      string   // netnsSelf, netnsAll, a name, a process id or a path
	source     string   // one of sources
	recording  *fixture // nil: the live system
	timeout    time.Duration
	verbose    bool
	debug      bool
	help       bool
	version    bool
	log        debugLog
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
	case c.help || c.version:
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
		{"warning", func() error { return p.takeThresholds("warning", &c.levels.warning) }},
		{"critical", func() error { return p.takeThresholds("critical", &c.levels.critical) }},
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
		return fmt.Errorf("%s is not possible, use whole seconds, 1 to %d", quote(typed), math.MaxInt32)
	}
	p.timeout = patience
	return nil
}

func (p argumentParser) takeTypes() (err error) {
	p.question.types, p.question.notTypes, err = parseNames(p.list("conn-type"), "type", socketTypes, knownType)
	if err == nil && len(p.question.kinds(statuses)) == 0 {
		err = errNothingLeft
	}
	return err
}

func (p argumentParser) takeStatuses() (err error) {
	p.question.statuses, p.question.notStatuses, err = parseNames(p.list("conn-status"), "status", statusesOf(thisSystem), canonicalStatus)
	for _, status := range p.question.statuses {
		if err == nil && !p.isRecording {
			err = checkStatus(thisSystem, status)
		}
	}
	if err == nil && len(p.question.kinds(statuses)) == 0 {
		err = errors.New("no socket can match: UDP sockets have the status none, TCP sockets all the others")
		if len(p.question.notTypes)+len(p.question.notStatuses) > 0 {
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
		case p.levels.by.has(d):
			return fmt.Errorf("the dimension %s is given twice", quote(item))
		case (d == byNetns || d == byUnit) && !p.onLiveLinux() && !p.isRecording:
			return errOnlyLinux(d.name)
		}
		p.levels.by = append(p.levels.by, d)
	}
	if len(p.levels.by) == 0 {
		p.levels.by = grouping{byType, byStatus}
	}
	return nil
}

func (p argumentParser) takeTop() error {
	top, _ := p.flags.GetInt64("top")
	if top < 0 || top > math.MaxInt32 {
		return fmt.Errorf("%d is not possible, use 0 for all groups, or 1 to %d", top, math.MaxInt32)
	}
	p.top = int(top)
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
		p.question.filters = append(p.question.filters, f)
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
		_, isUser := userID(item.text)
		if _, isAccount := accountName(item.text); !isUser && !isAccount {
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
	p.question.minIdle, p.question.minIdleTyped = idle, typed
	switch types := p.question.types; {
	case len(types) > 0 && !slices.Contains(types, "tcp") && !slices.Contains(types, "tcp6"):
		return errors.New("only TCP connections can be idle: add tcp or tcp6 to --conn-type")
	case len(p.question.kinds(statuses)) == 0:
		return fmt.Errorf("only connections can be idle: add one of %s to --conn-status", strings.ToLower(strings.Join(openStatuses, ", ")))
	}
	return nil
}

func (p argumentParser) takeNetns() error {
	switch {
	case p.netns == "":
		return errors.New("give self, all, a name under /run/netns, a process id or a path")
	case p.netns != netnsSelf && !p.onLiveLinux():
		return errOnlyLinux("a network namespace")
	}
	return nil
}

func (p argumentParser) takeSource() error {
	isLess := p.source == sourceProc || p.source == sourceGopsutil
	switch {
	case !slices.Contains(sources, p.source):
		return fmt.Errorf("unknown source %s: use %s", quote(p.source), strings.Join(sources, ", "))
	case p.source != sourceAuto && p.source != sourceGopsutil && thisSystem != "linux":
		return fmt.Errorf("%s is only on Linux: use %s or %s", p.source, sourceAuto, sourceGopsutil)
	case isLess && p.question.minIdle > 0:
		return fmt.Errorf("%s does not know how long a connection is idle, which needs netlink: leave out --min-idle or --source", p.source)
	case isLess && (p.question.hasFilter(byUnit) || p.levels.by.has(byUnit)):
		return fmt.Errorf("%s does not know units, which need netlink: leave out unit or --source", p.source)
	case p.source == sourceGopsutil && p.netns != netnsSelf:
		return errors.New("gopsutil reads this network namespace only: leave out --netns or --source")
	}
	return nil
}

func (p argumentParser) takeZero() error {
	if p.levels.isZero, _ = p.flags.GetBool("zero"); !p.levels.isZero {
		return nil
	}
	if !p.levels.by.isPlain() {
		return errors.New("works only with --by type and status: other groups are not known beforehand")
	}
	for _, k := range p.question.kinds(statusesOf(thisSystem)) {
		s := socket{proto: k.socketType}
		s.Status = k.status
		p.name(string(p.levels.by.key(nil, &s)), "")
	}
	return nil
}

// name has a group reported even if it has no socket.
func (p argumentParser) name(key, ending string) {
	if one := (groupName{key: key, mark: ending}); !slices.Contains(p.levels.named, one) {
		p.levels.named = append(p.levels.named, one)
	}
}

// thresholds reads the thresholds of a level. The groups that they name in full
// are reported also without a socket.
func (p argumentParser) takeThresholds(flag string, level *thresholds) (err error) {
	of := statuses
	if !p.isRecording {
		of = statusesOf(thisSystem)
	}
	*level, err = parseThresholds(p.list(flag), p.levels.by, func(name groupName) (groupName, error) {
		p.levels.isJudgedEmpty = true
		switch {
		case isLimit(name.key) && !p.onLiveLinux():
			return name, errOnlyLinux(name.text)
		case isLimit(name.key) && p.source == sourceGopsutil:
			return name, fmt.Errorf("gopsutil does not know %s: leave it out, or --source", name.text)
		case isLimit(name.key) || name.key == totalGroup:
			return name, nil
		}
		if status := p.levels.by.value(name.key, byStatus); status != "" && !p.isRecording {
			if err := checkStatus(thisSystem, status); err != nil {
				return name, err
			}
		}
		if !p.isRecording { // which has the ids of users
			name.key = p.levels.by.with(name.key, byUser, firstUserName)
		}
		if p.levels.by.isWhole(name.key) {
			p.name(name.key, name.mark)
		} else if !slices.Contains(p.levels.parts, name.key) {
			p.levels.parts = append(p.levels.parts, name.key)
		}
		return name, p.question.checkKey(p.levels.by, name.key, name.text, of)
	})
	for _, name := range limitNames() {
		if t, isSet := (*level)[name]; err == nil && isSet && (t.Lower > 100 || t.Upper > 100 && !t.Inside && !math.IsInf(t.Upper, 1)) {
			sockets := map[string]string{limitTimeWait.name: ", or time_wait=RANGE for the number of sockets"}
			err = fmt.Errorf("%s is a percentage: use a range within 0 to 100%s", name, sockets[name])
		}
	}
	return err
}

// decideEmptiness decides whether a range for all groups also judges that there are
// none, as it does with any GROUP=RANGE. With only the flags of the check that this
// one replaces, it does not.
func (p argumentParser) decideEmptiness() {
	isOurs := len(p.question.filters) > 0 || p.flags.Changed("by") || p.question.minIdle > 0 || p.netns != netnsSelf
	p.levels.isJudgedEmpty = p.levels.isJudgedEmpty || isOurs || len(p.levels.named) > 0
}

func (p argumentParser) takeRecording() (err error) {
	if !p.isRecording {
		return nil
	}
	typed, _ := p.flags.GetString("test")
	p.recording, err = parseRecording(typed)
	return err
}
