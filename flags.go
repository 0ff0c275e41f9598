package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

const programName = "check_network_connections"

// newFlags returns the flags. Those without a check of their own are bound to
// the configuration.
//
// The flag set is the single source of truth: README.md and the definitions
// under contrib/ are compared with it.
func newFlags(c *Config) *pflag.FlagSet {
	flags := pflag.NewFlagSet(programName, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {}
	flags.StringArray("conn-type", nil, "Count only sockets of this `TYPE`: all (default), "+strings.Join(socketTypes, ", "))
	flags.StringArray("conn-status", nil, "Count only sockets in this `STATUS`: all (default), "+
		strings.ToLower(strings.Join(statusesOf("linux"), ", ")))
	flags.StringArrayP("warning", "w", nil, "WARNING where a count is outside the range: `[GROUP=]RANGE`")
	flags.StringArrayP("critical", "c", nil, "CRITICAL where a count is outside the range: `[GROUP=]RANGE`")
	flags.StringArray("by", nil, "Group by this `DIMENSION` (default type,status): "+grouping(dimensions).names(", "))
	flags.Int64("top", 10, "Print at most `N` groups where they are not only by type and status; 0 prints all")
	for _, d := range dimensions {
		if d.item != nil {
			flags.StringArray(d.name, nil, d.help)
		}
	}
	flags.String("min-idle", "", "Count only TCP connections without traffic for this `DURATION` (90s, 5m); Linux")
	flags.StringVar(&c.Netns, "netns", netnsSelf, "Count in this network `NAMESPACE`: self, all, a name, a process id or a path; Linux")
	flags.StringVar(&c.Source, "source", sourceAuto, "Read the sockets from this `SOURCE`: netlink (Linux), gopsutil, or auto for the best that works")
	flags.Bool("zero", false, "Report and judge every selected group that this system can have, also those without a socket, as 0")
	flags.BoolVar(&c.NoDetails, "no-details", false, "Do not say who holds the sockets of a group in violation, and where they go")
	flags.BoolVar(&c.AlwaysOK, "always-ok", false, "Exit with 0 whatever was found")
	flags.BoolVar(&c.NoPerfdata, "no-perfdata", false, "Print no performance data")
	flags.String("test", "", "Judge a recording instead of the live system: `STDOUT[,STDERR[,RETC]]`, two files and an exit code")
	flags.Int64P("timeout", "t", 30, "Give up with UNKNOWN after this many `SECONDS`")
	flags.BoolVarP(&c.Verbose, "verbose", "v", false, "Say how many sockets were counted, and how")
	flags.BoolVarP(&c.Debug, "debug", "d", false, "Say on standard error what was done, with a stack trace where the check fails")
	flags.BoolVarP(&c.Version, "version", "V", false, "Print the version and exit with 3")
	flags.BoolVarP(&c.Help, "help", "h", false, "Print this help and exit with 3")
	return flags
}

// usage returns the help text.
func usage() string {
	return "Usage: " + programName + " [flags]\n\n" + `Counts the sockets of this host by type (tcp, tcp6, udp, udp6) and status and
compares each count with ranges.

Flags:
` + newFlags(&Config{}).FlagUsagesWrapped(100) + `
A RANGE is [@][start:][end] as in the Monitoring Plugins guidelines: 10 alerts
below 0 and above 10, 10: below 10, ~:10 above 10, 10:20 outside of 10 to 20,
@10:20 inside. GROUP= narrows it to a type (udp=50), a status (close_wait=10),
both (tcp_close_wait=10), the sum of all groups (total=20000) or the percentage
of ephemeral ports in use towards one peer (ephemeral=80, Linux); the most
specific range applies. Separate the items of a list by commas, or repeat the
flag.

Examples:
  check_network_connections
  check_network_connections -w 2000,close_wait=10,time_wait=5000 -c close_wait=50,total=20000
  check_network_connections --by status --conn-status listen --local-port 443 -c listen=1:
  check_network_connections --by process,status --conn-status close_wait -w 10

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
`
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
		wanted := map[string]string{"bool": "true or false", "int64": "a whole number"}[invalid.GetFlag().Value.Type()]
		return fmt.Errorf("--%s: %s is not %s", invalid.GetFlag().Name, quote(invalid.GetValue()), wanted)
	}
	return fmt.Errorf("%s: see --help", printable(err.Error()))
}
