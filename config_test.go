package main

import (
	"os"
	"strings"
	"testing"
)

func TestBadArgumentsAreUnknown(t *testing.T) {
	tests := []struct {
		arguments []string
		message   string
	}{
		{[]string{"--wraning", "5"}, `unknown flag "--wraning": see --help for those that there are`},
		{[]string{"-x"}, `unknown flag "-x": see --help for those that there are`},
		{[]string{"-vx"}, `unknown flag "-x": see --help for those that there are`},
		{[]string{"---zero"}, `bad flag syntax: ---zero: see --help`},
		{[]string{"--test"}, `--test needs a value`},
		{[]string{"-w"}, `--warning needs a value`},
		{[]string{"--zero=maybe"}, `--zero: "maybe" is not true or false`},
		{[]string{"--timeout", "soon"}, `--timeout: "soon" is not a whole number`},
		{[]string{"--timeout", "0"}, `--timeout: 0 is not possible, use 1 to 2147483647 seconds`},
		{[]string{"-t", "-5"}, `--timeout: -5 is not possible, use 1 to 2147483647 seconds`},
		{[]string{"tcp"}, `unexpected argument "tcp": every argument belongs to a flag, see --help`},
		{[]string{"--", "--zero"}, `unexpected argument "--zero": every argument belongs to a flag, see --help`},
		{[]string{"--conn-type", "tpc"}, `--conn-type: unknown type "tpc": use all, tcp, tcp6, udp, udp6`},
		{[]string{"--conn-type", ""}, `--conn-type: unknown type "": use all, tcp, tcp6, udp, udp6`},
		{[]string{"--conn-type", "all,tpc"}, `--conn-type: unknown type "tpc": use all, tcp, tcp6, udp, udp6`},
		{[]string{"--conn-status", "open"}, `--conn-status: unknown status "open": use all, bound, close, close_wait, closing, delete_tcb, established, fin_wait1, fin_wait2, idle, last_ack, listen, none, syn_recv, syn_sent, time_wait`},
		{[]string{"-w", "5,6"}, `--warning: more than one range without a group, the last one is "6": give one, and the others as GROUP=RANGE`},
		{[]string{"-w", "udp=5", "-w", "UDP=6"}, `--warning: the group "UDP" is given twice`},
		{[]string{"-c", "tcp_close=5,tcp-closed=6"}, `--critical: the group "tcp-closed" is given twice`},
		{[]string{"-c", "sctp=5"}, `--critical: unknown group "sctp": use a type (tcp), a status (close_wait), both (tcp_close_wait), total or ephemeral`},
		{[]string{"-c", "=5"}, `--critical: unknown group "": use a type (tcp), a status (close_wait), both (tcp_close_wait), total or ephemeral`},
		{[]string{"-c", "udp="}, `--critical: range "": it is empty, a range is [@][start:][end]`},
		{[]string{"-c", "udp_listen=5"}, `--critical: the group "udp_listen" cannot exist: UDP sockets have the status none, TCP sockets all the others`},
		{[]string{"-c", "tcp6=5", "--conn-type", "tcp"}, `--critical: the group "tcp6" is left out by what is selected`},
		{[]string{"-c", "listen=5", "--conn-type", "udp"}, `--critical: the group "listen" is left out by what is selected`},
		{[]string{"-c", "udp=5", "--conn-status", "listen"}, `--critical: the group "udp" is left out by what is selected`},
		{[]string{"-c", "tcp_close=5", "--conn-status", "listen"}, `--critical: the group "tcp_close" is left out by what is selected`},
		{[]string{"--test", ""}, `--test: "" is not STDOUT[,STDERR[,RETC]]: use a file, a file and an exit code`},
		{[]string{"--test", "a,b,0,d"}, `--test: "a,b,0,d" is not STDOUT[,STDERR[,RETC]]: use a file, a file and an exit code`},
		{[]string{"--test", "a,b,c"}, `--test: the exit code "c" is not a whole number`},
		{[]string{"--by", "port"}, `--by: unknown dimension "port": use type, status, process, user, local-address, local-port, remote-address, remote-port, netns`},
		{[]string{"--by", "user,User"}, `--by: the dimension "User" is given twice`},
		{[]string{"--by", "status", "-w", "tcp=5"}, `--warning: unknown group "tcp": use a status (close_wait), total or ephemeral`},
		{[]string{"--by", "type", "-w", "listen=5"}, `--warning: unknown group "listen": use a type (tcp), total or ephemeral`},
		{[]string{"--by", "status,type", "-w", "tcp_listen=5"}, `--warning: unknown group "tcp_listen": use a type (tcp), a status (close_wait), both (close_wait_tcp), total or ephemeral`},
		{[]string{"--by", "process", "-w", "=5"}, `--warning: the name of a group is empty`},
		{[]string{"--by", "process,status", "-w", "close_wait=5"}, `--warning: "close_wait" is no group of --by process,status: name one in full, with a value for each`},
		{[]string{"--by", "process,status", "-w", "java=5"}, `--warning: "java" is no group of --by process,status: name one in full, with a value for each`},
		{[]string{"--by", "process,status", "-w", "java_closewait=5"}, `--warning: "java_closewait" is no group of --by process,status: name one in full, with a value for each`},
		{[]string{"--by", "process,status", "-w", "close_wait_java=5"}, `--warning: "close_wait_java" is no group of --by process,status: name one in full, with a value for each`},
		{[]string{"--by", "process,type", "-w", "my_app=5"}, `--warning: "my_app" is no group of --by process,type: name one in full, with a value for each`},
		{[]string{"--by", "process,type,status", "-w", "java_udp_listen=5"}, `--warning: the group "java_udp_listen" cannot exist: UDP sockets have the status none, TCP sockets all the others`},
		{[]string{"--by", "local-port", "-w", "http=5"}, `--warning: "http" is no group of --by local-port: name one in full, with a value for each`},
		{[]string{"--by", "local-port", "-w", "80-90=5"}, `--warning: "80-90" is no group of --by local-port: name one in full, with a value for each`},
		{[]string{"--by", "remote-address", "-w", "10.0.0.0/8=5"}, `--warning: "10.0.0.0/8" is no group of --by remote-address: name one in full, with a value for each`},
		{[]string{"--by", "local-port", "--local-port", "8000", "-w", "80=5"}, `--warning: the group "80" is left out by --local-port`},
		{[]string{"--by", "remote-address", "--remote-address", "10.0.0.0/8", "-w", "-=5"}, `--warning: the group "-" is left out by --remote-address`},
		{[]string{"--by", "remote-address", "--remote-address", "!10.0.0.0/8", "-w", "10.0.0.5=5"}, `--warning: the group "10.0.0.5" is left out by --remote-address`},
		{[]string{"--by", "process,status", "--process", "java", "-w", "nginx_listen=5"}, `--warning: the group "nginx_listen" is left out by --process`},
		{[]string{"--by", "process,status", "--conn-status", "established", "-w", "nginx_listen=5"}, `--warning: the group "nginx_listen" is left out by what is selected`},
		{[]string{"--by", "user", "--user", "root", "-w", "nobody=0"}, `--warning: the group "nobody" is left out by --user`},
		{[]string{"--by", "user", "-w", "0=5"}, `--warning: the group "0" must have the name of the user 0, "root"`},
		{[]string{"--by", "process", "-w", "tcp6=5"}, `--warning: "tcp6" is no group of --by process: name one in full, with a value for each`},
		{[]string{"-t", "99999999999"}, `--timeout: 99999999999 is not possible, use 1 to 2147483647 seconds`},
		{[]string{"--by", "process", "-w", "java=5,JAVA=6"}, `--warning: the group "JAVA" is given twice`},
		{[]string{"--by", "process", "--zero"}, `--zero: it goes with --by type and status only: which groups of another dimension there can be is not known`},
		{[]string{"--top", "-1"}, `--top: -1 is not possible, use 0 for all groups or more`},
		{[]string{"--top", "many"}, `--top: "many" is not a whole number`},
		{[]string{"--local-port", "0"}, `--local-port: "0" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--local-port", "80,65536"}, `--local-port: "65536" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--remote-port", "90-80"}, `--remote-port: "90-80" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--remote-port", "http"}, `--remote-port: "http" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--remote-port", "!"}, `--remote-port: "" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--local-address", "10.0.0.256"}, `--local-address: "10.0.0.256" is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8`},
		{[]string{"--remote-address", "10.0.0.0/33"}, `--remote-address: "10.0.0.0/33" is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8`},
		{[]string{"--remote-address", "fe80::1%eth0"}, `--remote-address: "fe80::1%eth0" is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8`},
		{[]string{"--process", ""}, `--process: a name is empty`},
		{[]string{"--user", "!no such user"}, `--user: unknown user "no such user": use a name or an id that this host knows`},
		{[]string{"--min-idle", "90"}, `--min-idle: "90" is not a duration: use one above 0 such as 90s, 5m or 1h30m`},
		{[]string{"--min-idle", "-5m"}, `--min-idle: "-5m" is not a duration: use one above 0 such as 90s, 5m or 1h30m`},
		{[]string{"--min-idle", "1194h"}, `--min-idle: "1194h" is more than the kernel counts: use at most 1193h`},
		{[]string{"--min-idle", ""}, `--min-idle: "" is not a duration: use one above 0 such as 90s, 5m or 1h30m`},
		{[]string{"--min-idle", "5m", "--test", "testdata/empty.json"}, `--min-idle: how long a connection is idle is only known on a live Linux system`},
		{[]string{"--netns", ""}, `--netns: it is empty: use self, all, a name under /run/netns, a process id or a path`},
		{[]string{"--netns", "all", "--test", "testdata/empty.json"}, `--netns: a network namespace is only known on a live Linux system`},
		{[]string{"-c", "ephemeral=95", "--test", "testdata/empty.json"}, `--critical: the use of ephemeral ports is only known on a live Linux system`},
		{[]string{"-w", "ephemeral=101"}, `--warning: ephemeral is a percentage: use a range within 0 to 100`},
		{[]string{"-w", "ephemeral=@100.5:"}, `--warning: ephemeral is a percentage: use a range within 0 to 100`},
		{[]string{"-w", "Close-Wait:10"}, `--warning: range "Close-Wait:10": "Close-Wait" is not a number; a range for a group is GROUP=RANGE, as in close-wait=10`},
		{[]string{"-w", "tcp"}, `--warning: range "tcp": "tcp" is not a number; a range for a group is GROUP=RANGE, as in tcp=10`},
		{[]string{"--source", "lsof"}, `--source: unknown source "lsof": use auto, netlink, gopsutil`},
		{[]string{"--conn-type", "<b>|x=1\n\x1b[31m"}, `--conn-type: unknown type "_b__x=1__[31m": use all, tcp, tcp6, udp, udp6`},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.arguments, " "), func(t *testing.T) {
			output, code := run(t, test.arguments...)
			if want := "[UNKNOWN] - " + test.message + "\n"; output != want || code != 3 {
				t.Errorf("got  %d %swant 3 %s", code, output, want)
			}
		})
	}
}

func TestSelection(t *testing.T) {
	tests := []struct {
		arguments       string
		types, statuses string
		nothing         string
	}{
		{"", "", "", `No connections of type "all" in status "all" found.`},
		{"--conn-type udp --conn-type tcp,udp", "udp,tcp", "", `No connections of type "udp,tcp" in status "all" found.`},
		{"--conn-type=TCP6,all", "", "", `No connections of type "all" in status "all" found.`},
		{
			"--conn-status=Close-Wait,CLOSED,fin_wait_1,fin-wait-2,syn_received,syn_rcvd,delete,bound,idle",
			"", "CLOSE_WAIT,CLOSE,FIN_WAIT1,FIN_WAIT2,SYN_RECV,DELETE_TCB,BOUND,IDLE",
			`No connections of type "all" in status "close_wait,close,fin_wait1,fin_wait2,syn_recv,delete_tcb,bound,idle" found.`,
		},
	}
	for _, test := range tests {
		t.Run(test.arguments, func(t *testing.T) {
			config, err := parseArguments(strings.Fields(test.arguments))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(config.Selection.Types, ","); got != test.types {
				t.Errorf("types: got %s, want %s", got, test.types)
			}
			if got := strings.Join(config.Selection.Statuses, ","); got != test.statuses {
				t.Errorf("statuses: got %s, want %s", got, test.statuses)
			}
			if config.Nothing != test.nothing {
				t.Errorf("got %s, want %s", config.Nothing, test.nothing)
			}
		})
	}
}

func TestHelpInReadmeIsTheProgramsOwn(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```text\n"+newArguments().usage()+"```\n") {
		t.Errorf("README.md must show this in a text block:\n%s", newArguments().usage())
	}
}
