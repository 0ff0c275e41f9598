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
both (tcp_close_wait=10), the sum of all groups (total=20000) or the percentage
of ephemeral ports in use towards one peer (ephemeral=80, Linux); the most
specific range applies. Lists are given by commas or by repeating the flag.

Examples:
  check_network_connections
  check_network_connections -w 2000,close_wait=10,time_wait=5000 -c close_wait=50,total=20000
  check_network_connections --by status --conn-status listen --local-port 443 -c listen=1:
  check_network_connections --by process,status --conn-status close_wait -w 10

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
`

// Config is what the command line asks for, checked and ready to use.
type Config struct {
	Answer     string // what --help or --version prints; nothing else is to be done
	Selection  Selection
	Filter     Filter
	MinIdle    time.Duration // 0: sockets count however busy they are
	Netns      string        // the network namespace: netnsSelf, netnsAll, a name, a process id or a path
	Nothing    string        // what to say when no socket is selected
	By         Grouping
	Top        int     // how many groups are printed where there can be many, 0 for all
	Expected   []Group // to be reported even with no socket in them
	Warning    Thresholds
	Critical   Thresholds
	AlwaysOK   bool
	NoPerfdata bool
	NoDetails  bool
	Recording  *Recording // nil: the live system
	Source     string     // one of sources
	Timeout    time.Duration
	Verbose    bool
	Debug      bool
	Log        debugLog

	named      [][]string // the values of the groups that thresholds name in full
	withOwners bool       // owners and peers are needed whatever the grouping
}

// names tells whether a threshold names the group.
func (c *Config) names(group string) bool {
	return c.Warning.first(group) != nil || c.Critical.first(group) != nil
}

// needs returns which fields of the records the grouping and the filters need.
func (c *Config) needs() needs {
	n := needs{
		process:       c.By.has(byProcess) || !c.Filter.Processes.isEmpty(),
		user:          c.By.has(byUser) || !c.Filter.Users.isEmpty(),
		localAddress:  c.By.has(byLocalAddress) || !c.Filter.LocalAddresses.isEmpty(),
		remoteAddress: c.By.has(byRemoteAddress) || !c.Filter.RemoteAddresses.isEmpty(),
	}
	// Only on Linux a socket has a user of its own, elsewhere its process has.
	n.process = n.process || n.user && thisSystem != "linux"
	if c.withOwners {
		n = needs{process: true, user: true, localAddress: true, remoteAddress: true}
	}
	return n
}

// tally returns the tally of the grouping and the filters.
func (c *Config) tally() tally {
	t := tally{grouping: c.By, needs: c.needs()}
	f := &c.Filter
	if !f.LocalPorts.isEmpty() || !f.RemotePorts.isEmpty() || !f.LocalAddresses.isEmpty() || !f.RemoteAddresses.isEmpty() {
		t.accepts = f.matches
	}
	return t
}

// everything returns the configuration without what narrows the sockets, but
// in the same network namespaces and from the same source.
func (c *Config) everything() Config {
	return Config{Netns: c.Netns, Source: c.Source, Recording: c.Recording, Log: c.Log}
}

// The values of --source. Only Linux has netlink.
const (
	sourceAuto     = "auto"
	sourceNetlink  = "netlink"
	sourceGopsutil = "gopsutil"
)

var sources = []string{sourceAuto, sourceNetlink, sourceGopsutil}

// Values of --netns.
const (
	netnsSelf = "self"
	netnsAll  = "all"
)

// arguments is the command line as it was typed. The flags that every plugin
// has are in go-check's own configuration.
type arguments struct {
	*check.Config
	types, statuses                 []string
	warning, critical               []string
	by                              []string
	top                             int
	localPorts, remotePorts         []string
	localAddresses, remoteAddresses []string
	processes, users                []string
	minIdle, netns, source          string
	zero, alwaysOK                  bool
	noPerfdata, noDetails           bool
	test                            string
	help                            bool
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
	flags.StringArrayVar(&a.by, "by", nil, "Group by this `DIMENSION` (default type,status): "+joinDimensions(dimensions[:]))
	flags.IntVar(&a.top, "top", 10, "Print at most `N` groups where they are not only by type and status; 0 prints all")
	flags.StringArrayVar(&a.localPorts, "local-port", nil, "Count only sockets on this local `PORT`: a number or a range (8000-8100); a leading ! excludes, here and below")
	flags.StringArrayVar(&a.remotePorts, "remote-port", nil, "Count only sockets with this `PORT` of the peer")
	flags.StringArrayVar(&a.localAddresses, "local-address", nil, "Count only sockets on this local `ADDRESS` or network (10.0.0.0/8)")
	flags.StringArrayVar(&a.remoteAddresses, "remote-address", nil, "Count only sockets with this `ADDRESS` of the peer, or one in this network")
	flags.StringArrayVar(&a.processes, "process", nil, "Count only sockets of processes of this `NAME`")
	flags.StringArrayVar(&a.users, "user", nil, "Count only sockets of this `USER`: a name or an id")
	flags.StringVar(&a.minIdle, "min-idle", "", "Count only TCP connections without traffic for this `DURATION` (90s, 5m); Linux")
	flags.StringVar(&a.netns, "netns", netnsSelf, "Count in this network `NAMESPACE`: self, all, a name, a process id or a path; Linux")
	flags.StringVar(&a.source, "source", sourceAuto, "Read the sockets from this `SOURCE`: netlink (Linux), gopsutil, or auto for the best that works")
	flags.BoolVar(&a.zero, "zero", false, "Report and judge every selected group that this system can have, also those without a socket, as 0")
	flags.BoolVar(&a.noDetails, "no-details", false, "Do not say who holds the sockets of a group in violation, and where they go")
	flags.BoolVar(&a.alwaysOK, "always-ok", false, "Exit with 0 whatever was found")
	flags.BoolVar(&a.noPerfdata, "no-perfdata", false, "Print no performance data")
	flags.StringVar(&a.test, "test", "", "Judge a recording instead of the live system: `STDOUT[,STDERR[,RETC]]`, two files and an exit code")
	flags.IntVarP(&a.Timeout, "timeout", "t", a.Timeout, "Give up with UNKNOWN after this many `SECONDS`")
	flags.BoolVarP(&a.Verbose, "verbose", "v", false, "Say how many sockets were counted, and how")
	flags.BoolVarP(&a.Debug, "debug", "d", false, "Say on standard error what was done, with a stack trace where the check fails")
	flags.BoolVarP(&a.PrintVersion, "version", "V", false, "Print the version and exit with 3")
	flags.BoolVarP(&a.help, "help", "h", false, "Print this help and exit with 3")
	return a
}

func joinDimensions(list []Dimension) string {
	var texts []string
	for _, dimension := range list {
		texts = append(texts, string(dimension))
	}
	return strings.Join(texts, ", ")
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
		return Config{}, fmt.Errorf("--timeout: %d is not possible, use 1 to %d seconds", a.Timeout, math.MaxInt32)
	}
	return a.check()
}

// check turns what was typed into what it means.
func (a *arguments) check() (Config, error) {
	config := Config{
		AlwaysOK:   a.alwaysOK,
		NoPerfdata: a.noPerfdata,
		NoDetails:  a.noDetails,
		Top:        a.top,
		Netns:      a.netns,
		Source:     a.source,
		Timeout:    time.Duration(a.Timeout) * time.Second,
		Verbose:    a.Verbose,
		Debug:      a.Debug,
	}
	for _, step := range []struct {
		flag  string
		check func(*Config) error
	}{
		{"conn-type", a.checkTypes},
		{"conn-status", a.checkStatuses},
		{"by", a.checkGrouping},
		{"top", a.checkTop},
		{"local-port", choose(&config.Filter.LocalPorts, a.localPorts, parsePorts)},
		{"remote-port", choose(&config.Filter.RemotePorts, a.remotePorts, parsePorts)},
		{"local-address", choose(&config.Filter.LocalAddresses, a.localAddresses, parseNetwork)},
		{"remote-address", choose(&config.Filter.RemoteAddresses, a.remoteAddresses, parseNetwork)},
		{"process", choose(&config.Filter.Processes, a.processes, parseName)},
		{"user", choose(&config.Filter.Users, a.users, parseUser)},
		{"min-idle", a.checkMinIdle},
		{"netns", a.checkNetns},
		{"source", a.checkSource},
		{"zero", a.checkZero},
		{"warning", func(c *Config) error { return a.checkThresholds(c, a.warning, &c.Warning) }},
		{"critical", func(c *Config) error { return a.checkThresholds(c, a.critical, &c.Critical) }},
		{"test", a.checkTest},
	} {
		if err := step.check(&config); err != nil {
			return Config{}, fmt.Errorf("--%s: %w", step.flag, err)
		}
	}
	return config, nil
}

func (a *arguments) checkTypes(c *Config) (err error) {
	c.Selection.Types, err = parseNames(a.types, "type", socketTypes, knownType)
	return err
}

func (a *arguments) checkStatuses(c *Config) (err error) {
	c.Selection.Statuses, err = parseNames(a.statuses, "status", statuses, canonicalStatus)
	for _, status := range c.Selection.Statuses {
		if err == nil && !a.isRecording() && !isListed(thisSystem, status) {
			err = errNotListed(status)
		}
	}
	c.Nothing = fmt.Sprintf("No connections of type %q in status %q found.",
		namesText(c.Selection.Types), namesText(c.Selection.Statuses))
	return err
}

func (a *arguments) checkGrouping(c *Config) error {
	for _, item := range splitLists(a.by) {
		dimension := Dimension(strings.ToLower(item))
		switch {
		case !slices.Contains(dimensions[:], dimension):
			return fmt.Errorf("unknown dimension %s: use %s", quote(item), joinDimensions(dimensions[:]))
		case c.By.has(dimension):
			return fmt.Errorf("the dimension %s is given twice", quote(item))
		case dimension == byNetns && !a.onLiveLinux() && !a.isRecording():
			return errOnlyLinux("netns")
		}
		c.By = append(c.By, dimension)
	}
	if len(c.By) == 0 {
		c.By = defaultGrouping
	}
	return nil
}

func (a *arguments) checkTop(*Config) error {
	if a.top < 0 {
		return fmt.Errorf("%d is not possible, use 0 for all groups or more", a.top)
	}
	return nil
}

// onLiveLinux tells whether there is a kernel to ask for what only Linux knows.
func (a *arguments) onLiveLinux() bool { return thisSystem == "linux" && !a.isRecording() }

func (a *arguments) isRecording() bool { return a.FlagSet.Changed("test") }

func errOnlyLinux(what string) error {
	return fmt.Errorf("%s is only known on a live Linux system", what)
}

// openStatuses are those of connections that have had traffic and may have more.
var openStatuses = []string{"CLOSE_WAIT", "CLOSING", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK"}

// longestIdle is the longest time without traffic that can be told: the kernel
// has 32 bits for the milliseconds (struct tcp_info in linux/tcp.h).
const longestIdle = math.MaxUint32 * time.Millisecond

func (a *arguments) checkMinIdle(c *Config) (err error) {
	if a.minIdle == "" && !a.FlagSet.Changed("min-idle") {
		return nil
	}
	if c.MinIdle, err = time.ParseDuration(a.minIdle); err != nil || c.MinIdle <= 0 {
		return fmt.Errorf("%s is not a duration: use one above 0 such as 90s, 5m or 1h30m", quote(a.minIdle))
	}
	if c.MinIdle > longestIdle {
		return fmt.Errorf("%s is more than the kernel counts: use at most %dh", quote(a.minIdle), longestIdle/time.Hour)
	}
	if !a.onLiveLinux() {
		return errOnlyLinux("how long a connection is idle")
	}
	if c.Selection.Types = narrow(c.Selection.Types, []string{"tcp", "tcp6"}); len(c.Selection.Types) == 0 {
		return errors.New("only TCP connections can be idle: add tcp or tcp6 to --conn-type")
	}
	if c.Selection.Statuses = narrow(c.Selection.Statuses, openStatuses); len(c.Selection.Statuses) == 0 {
		return fmt.Errorf("only connections can be idle: add one of %s to --conn-status", strings.ToLower(strings.Join(openStatuses, ", ")))
	}
	return nil
}

// narrow returns what of the list, where an empty one has everything, is in the
// other one.
func narrow(list, to []string) []string {
	if len(list) == 0 {
		return to
	}
	return slices.DeleteFunc(slices.Clone(list), func(item string) bool { return !slices.Contains(to, item) })
}

func (a *arguments) checkNetns(c *Config) error {
	switch {
	case a.netns == "":
		return errors.New("it is empty: use self, all, a name under /run/netns, a process id or a path")
	case a.netns != netnsSelf && !a.onLiveLinux():
		return errOnlyLinux("a network namespace")
	}
	return nil
}

func (a *arguments) checkSource(c *Config) error {
	switch {
	case !slices.Contains(sources, a.source):
		return fmt.Errorf("unknown source %s: use %s", quote(a.source), strings.Join(sources, ", "))
	case a.source == sourceNetlink && thisSystem != "linux":
		return fmt.Errorf("netlink is only on Linux: use %s or %s", sourceAuto, sourceGopsutil)
	case a.source == sourceGopsutil && c.MinIdle > 0:
		return errors.New("gopsutil does not know how long a connection is idle: leave out --min-idle or --source")
	case a.source == sourceGopsutil && c.Netns != netnsSelf:
		return errors.New("gopsutil reads this network namespace only: leave out --netns or --source")
	}
	return nil
}

func (a *arguments) checkZero(c *Config) error {
	if !a.zero {
		return nil
	}
	if !c.By.isPlain() {
		return errors.New("it goes with --by type and status only: which groups of another dimension there can be is not known")
	}
	for _, key := range c.Selection.kinds(thisSystem) {
		c.expect(c.By.group(key, part{}))
	}
	return nil
}

// expect adds a group that is to be reported even without a socket.
func (c *Config) expect(group Group) {
	if !slices.ContainsFunc(c.Expected, group.is) {
		c.Expected = append(c.Expected, group)
	}
}

// isPossible tells whether sockets with a value for each dimension can be
// selected.
func (c *Config) isPossible(values []string) bool {
	group := c.By.named(values)
	for i, value := range values {
		if !c.Filter.allows(c.By[i], value) {
			return false
		}
	}
	return c.Selection.allows(groupName{socketType: group.Type, status: group.Status}) == nil
}

// namedValues returns the values that thresholds name in a dimension, but for
// unseen and nothing.
func (c *Config) namedValues(d Dimension) (values []string) {
	i := slices.Index(c.By, d)
	for _, group := range c.named {
		if i >= 0 && isTold(group[i]) {
			values = append(values, group[i])
		}
	}
	return values
}

// checkThresholds reads the thresholds of a level, and expects the groups that
// they name in full.
func (a *arguments) checkThresholds(c *Config, lists []string, thresholds *Thresholds) error {
	var groups []groupName
	var err error
	if *thresholds, groups, err = parseThresholds(splitLists(lists), c.By, c.isPossible); err != nil {
		return err
	}
	for _, group := range groups {
		switch {
		case group.name == totalGroup:
		case group.name == ephemeralGroup:
			if !a.onLiveLinux() {
				return errOnlyLinux("the use of ephemeral ports")
			}
			if t := (*thresholds)[ephemeralGroup]; t.Lower > 100 || t.Upper > 100 && !t.Inside && !math.IsInf(t.Upper, 1) {
				return fmt.Errorf("%s is a percentage: use a range within 0 to 100", ephemeralGroup)
			}
		default:
			if err := c.Selection.allows(group); err != nil {
				return err
			}
			if !a.isRecording() && !isListed(thisSystem, group.status) {
				return errNotListed(group.status)
			}
			for i, value := range group.values {
				if name, known := userOf(value); c.By[i] == byUser && known && !a.isRecording() {
					return fmt.Errorf("the group %s must have the name of the user %s, %s", quote(group.text), value, quote(name))
				}
				if !c.Filter.allows(c.By[i], value) {
					return fmt.Errorf("the group %s is left out by --%s", quote(group.text), c.By[i])
				}
			}
			if group.values != nil {
				c.expect(c.By.named(group.values))
				c.named = append(c.named, group.values)
			}
		}
	}
	return nil
}

func (a *arguments) checkTest(c *Config) (err error) {
	if a.isRecording() {
		c.Recording, err = parseRecording(a.test)
	}
	return err
}

// choose returns the check of a list of items to match with.
func choose[T any](into *choice[T], lists []string, parse func(string) (T, error)) func(*Config) error {
	return func(*Config) (err error) {
		*into, err = parseChoice(lists, parse)
		return err
	}
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

// parseNames returns the canonical names of the items, each once, in the
// order given; none where everything is wanted.
func parseNames(lists []string, what string, choices []string, canonical func(string) (string, bool)) ([]string, error) {
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

func namesText(chosen []string) string {
	if len(chosen) == 0 {
		return "all"
	}
	return strings.ToLower(strings.Join(chosen, ","))
}

// allows returns an error where the group can never be counted.
func (s Selection) allows(group groupName) error {
	if group.socketType != "" && group.status != "" && isUDP(group.socketType) != (group.status == statusNone) {
		return fmt.Errorf("the group %s cannot exist: UDP sockets have the status none, TCP sockets all the others", quote(group.text))
	}
	for _, socketType := range socketTypes {
		for _, status := range statuses {
			if (group.socketType == "" || group.socketType == socketType) &&
				(group.status == "" || group.status == status) &&
				isUDP(socketType) == (status == statusNone) && s.includes(socketType, status) {
				return nil
			}
		}
	}
	return fmt.Errorf("the group %s is left out by what is selected", quote(group.text))
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
