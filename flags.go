package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
)

const programName = "check_network_connections"

// recommended are the thresholds that fit most Linux hosts: a leak shows in
// CLOSE_WAIT before anything fails, and limits are what fails. docs/thresholds.md
// has the reasons.
const recommended = "-w close_wait=50,limits=80 -c close_wait=500,limits=95"

// recommendedFor leaves out the limits on systems that do not tell them.
func recommendedFor(system string) string {
	if system == "linux" {
		return recommended
	}
	return strings.NewReplacer(",limits=80", "", ",limits=95", "").Replace(recommended)
}

// newFlags returns the flags. Those without a check of their own are bound to
// the configuration.
//
// The flag set is the single source of truth: README.md and the definitions
// under contrib/ are compared with it.
func newFlags(c *options) *pflag.FlagSet {
	flags := pflag.NewFlagSet(programName, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {}
	flags.SetNormalizeFunc(wholeName)
	flags.Var(new(repeated), "conn-type", "Count only sockets of this `TYPE`: all (default), "+strings.Join(socketTypes, ", "))
	flags.Var(new(repeated), "conn-status", "Count only sockets in this `STATUS`: all (default), "+
		strings.ToLower(strings.Join(statusesOf(thisSystem), ", ")))
	flags.VarP(new(repeated), "warning", "w", "WARNING where a count is outside the range: `[GROUP=]RANGE`")
	flags.VarP(new(repeated), "critical", "c", "CRITICAL where a count is outside the range: `[GROUP=]RANGE`")
	flags.Var(new(repeated), "by", "Group by this `DIMENSION` (default type,status): "+grouping(dimensions).names(", "))
	flags.Int64("top", 10, "Print at most `N` groups, 0 for all; those by type and status are always printed")
	for _, d := range dimensions {
		if d.item != nil {
			flags.Var(new(repeated), d.name, d.help)
		}
	}
	flags.String("min-idle", "", "Count only TCP connections without data for this `DURATION` (90s, 5m, 1d); keepalive probes do not count as data; Linux")
	flags.StringVar(&c.netns, "netns", netnsSelf, "Count in this network `NAMESPACE`: self, all, a name, a process id or a path; Linux")
	flags.StringVar(&c.source, "source", sourceAuto, "Read the sockets from this `SOURCE`: auto for the best that works, "+strings.Join(sources[1:], ", "))
	flags.Bool("zero", false, "Report and judge every selected group that this system can have; one without a socket is 0")
	flags.BoolVar(&c.noDetails, "no-details", false, "Do not say who holds the sockets of a group in violation, and where they go")
	flags.BoolVar(&c.alwaysOK, "always-ok", false, "Exit with 0 whatever was found")
	flags.BoolVar(&c.noPerfdata, "no-perfdata", false, "Print no performance data")
	flags.String("test", "", "Judge a recording instead of the live system: `STDOUT[,STDERR[,RETC]]`, two files and an exit code")
	flags.StringP("timeout", "t", "30", "Give up with UNKNOWN after this many `SECONDS`")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "Say how many sockets were counted, and how")
	flags.BoolVarP(&c.debug, "debug", "d", false, "Say on standard error what was done, with a stack trace after a crash")
	flags.BoolVarP(&c.version, "version", "V", false, "Print the version and exit with 3")
	flags.BoolVarP(&c.help, "help", "h", false, "Print this help and exit with 3")
	return flags
}

// repeated is what was given to a flag that may be repeated. pflag's own makes CSV of
// every default, which takes an idle host's call a thirtieth of its time.
type repeated []string

func (r *repeated) Set(typed string) error {
	*r = append(*r, typed)
	return nil
}

func (r *repeated) String() string { return strings.Join(*r, ",") }

func (r *repeated) Type() string { return "list" }

// usage returns the help text.
func usage() string {
	return "Usage: " + programName + " [flags]\n\n" + `Counts the sockets of this host by type (tcp, tcp6, udp, udp6) and status and
compares each count with ranges.

Flags:
` + newFlags(&options{}).FlagUsagesWrapped(100) + `
A RANGE is [@][start:][end] as in the Monitoring Plugins guidelines: 10 alerts
below 0 and above 10, 10: below 10, ~:10 above 10, 10:20 outside of 10 to 20,
@10:20 inside. GROUP= narrows it to a type (udp=50), a status (close_wait=10),
both (tcp_close_wait=10) or the sum of all groups (total=20000). The most
specific range applies, and one for a status holds for each type by itself.
On Linux limits=80 is a percentage of everything at which connections fail:
ephemeral ports (ephemeral), the queues of listeners (backlog), conntrack, orphans,
TCP memory (memory) and open files (files). Each can be named alone: ephemeral=90.
Separate the items of a list by commas, or repeat the flag.

Examples:
  check_network_connections
  check_network_connections ` + recommendedFor(thisSystem) + `
  check_network_connections --conn-status listen --local-port 443 -c 1:
  check_network_connections --by process,status --conn-status close_wait -w 10

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
`
}

// wholeName returns the name of a flag for a unique beginning of it, as plugins in
// C and in Python take them too.
func wholeName(flags *pflag.FlagSet, typed string) pflag.NormalizedName {
	if found := flagsFrom(flags, typed); len(found) == 1 && typed != "" {
		return pflag.NormalizedName(found[0])
	}
	return pflag.NormalizedName(typed)
}

// flagsFrom returns the names of the flags with the beginning.
func flagsFrom(flags *pflag.FlagSet, beginning string) (names []string) {
	flags.VisitAll(func(flag *pflag.Flag) {
		if strings.HasPrefix(flag.Name, beginning) {
			names = append(names, flag.Name)
		}
	})
	return names
}

// otherNames are those that people try first.
var otherNames = map[string]string{
	"port": "local-port", "dport": "remote-port", "sport": "local-port", "address": "local-address", "peer": "remote-address", "remote": "remote-address", "ip": "remote-address", "lport": "local-port",
	"group-by": "by", "groupby": "by", "group": "by", "tcp": "conn-type", "udp": "conn-type", "protocol": "conn-type", "state": "conn-status", "conn-state": "conn-status", "status": "conn-status", "type": "conn-type", "proto": "conn-type",
	"program": "process", "pid": "process", "cgroup": "unit", "pod": "unit", "name": "process", "owner": "user", "service": "unit", "container": "unit", "namespace": "netns", "idle": "min-idle",
	"perfdata": "no-perfdata", "details": "no-details", "ok": "always-ok",
}

// hostFlags are how other plugins name the host that they look at.
var hostFlags = map[string]string{"H": "-H", "host": "--host", "hostname": "--hostname"}

// suggestion returns what an unknown flag may have been meant to be.
func suggestion(typed string) string {
	flags := newFlags(&options{})
	if begun := flagsFrom(flags, typed); len(begun) > 1 {
		return ": it may be --" + strings.Join(begun, " or --")
	}
	if best := cmp.Or(otherNames[typed], nearest(typed, flagsFrom(flags, ""))); best != "" {
		return ": did you mean --" + best + "?"
	}
	return ": see --help"
}

// nearest returns the name that has been mistyped, in any case, "" where there is
// none like it.
func nearest(typed string, names []string) (best string) {
	fewest := min(3, len(typed)/2+1) // wrong letters are too many
	for _, name := range names {
		if strings.EqualFold(typed, name) {
			return ""
		}
		isAlike := typed != "" && strings.EqualFold(typed[:1], name[:1])
		if wrong := editDistance(strings.ToLower(typed), strings.ToLower(name)); isAlike && wrong < fewest {
			best, fewest = name, wrong
		}
	}
	return best
}

// editDistance returns how many letters must be changed, added or left out to
// make one word of another (Levenshtein).
func editDistance(from, to string) int {
	costs := make([]int, len(to)+1)
	for j := range costs {
		costs[j] = j
	}
	for i := range len(from) {
		diagonal := costs[0]
		costs[0] = i + 1
		for j := range len(to) {
			above := costs[j+1]
			changed := diagonal
			if from[i] != to[j] {
				changed++
			}
			costs[j+1] = min(changed, above+1, costs[j]+1)
			diagonal = above
		}
	}
	return costs[len(to)]
}

// argumentError says what an argument that belongs to no flag may be: what is left
// over where a flag has no value, or a list a blank.
func argumentError(flags *pflag.FlagSet) error {
	argument := flags.Arg(0)
	err := fmt.Errorf("unexpected argument %s: every argument belongs to a flag, see --help", quote(argument))
	flags.Visit(func(flag *pflag.Flag) {
		values, isList := flag.Value.(*repeated)
		if !isList {
			return
		}
		for _, value := range *values {
			if letter := strings.TrimLeft(value, "-"); letter != value && letter != "" && unicode.IsLetter(rune(letter[0])) {
				err = fmt.Errorf("--%s needs a value: %s is the next flag", flag.Name, quote(value))
			} else if strings.HasSuffix(value, ",") || strings.Contains(argument, "=") {
				err = fmt.Errorf("unexpected argument %s: write lists without a blank after the comma", quote(argument))
			}
		}
	})
	return err
}

// flagError says what pflag found, without the names of Go functions and types.
func flagError(err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown) && hostFlags[unknown.GetSpecifiedName()] != "":
		return fmt.Errorf("there is no %s: the check looks at this host only, leave it out", hostFlags[unknown.GetSpecifiedName()])
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return fmt.Errorf("unknown flag %s: see --help", quote("-"+unknown.GetSpecifiedName()))
	case errors.As(err, &unknown):
		return fmt.Errorf("unknown flag %s%s", quote("--"+unknown.GetSpecifiedName()), suggestion(unknown.GetSpecifiedName()))
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		wanted := map[string]string{"bool": "true or false", "int64": "a whole number"}[invalid.GetFlag().Value.Type()]
		return fmt.Errorf("--%s: %s is not %s", invalid.GetFlag().Name, quote(invalid.GetValue()), wanted)
	}
	return fmt.Errorf("%s: see --help", printable(err.Error()))
}
