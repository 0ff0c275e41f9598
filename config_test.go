package main

import (
	"strings"
	"testing"
	"time"
)

func TestBadArgumentsAreUnknown(t *testing.T) {
	if thisSystem != "linux" {
		t.Skip("some words are about the system")
	}
	for _, test := range []struct {
		arguments []string
		message   string
	}{
		{[]string{"--wraning", "5"}, `unknown flag "--wraning": did you mean --warning?`},
		{[]string{"-x"}, `unknown flag "-x": see --help`},
		{[]string{"-vx"}, `unknown flag "-x": see --help`},
		{[]string{"---zero"}, `bad flag syntax: ---zero: see --help`},
		{[]string{"--test"}, `--test needs a value`},
		{[]string{"-w"}, `--warning needs a value`},
		{[]string{"--zero=maybe"}, `--zero: "maybe" is not true or false`},
		{[]string{"--timeout", "soon"}, `--timeout: "soon" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"--timeout", "0"}, `--timeout: "0" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"-t", "-5"}, `--timeout: "-5" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"tcp"}, `unexpected argument "tcp": every argument belongs to a flag, see --help`},
		{[]string{"--", "--zero"}, `unexpected argument "--zero": every argument belongs to a flag, see --help`},
		{[]string{"--conn-type", "tpc"}, `--conn-type: unknown type "tpc": use all, tcp, tcp6, udp, udp6`},
		{[]string{"--conn-type", ","}, `--conn-type: unknown type "": use all, tcp, tcp6, udp, udp6`},
		{[]string{"--conn-type", "all,tpc"}, `--conn-type: unknown type "tpc": use all, tcp, tcp6, udp, udp6`},
		{[]string{"--conn-status", "open"}, `--conn-status: unknown status "open": use all, close, close_wait, closing, established, fin_wait1, fin_wait2, last_ack, listen, none, syn_recv, syn_sent, time_wait`},
		{[]string{"-w", "5,6"}, `--warning: more than one range without a group, the last one is "6": give one, and the others as GROUP=RANGE (-w is for WARNING, -c for CRITICAL)`},
		{[]string{"-w", "udp=5", "-w", "UDP=6"}, `--warning: the group "UDP" is given twice`},
		{[]string{"-c", "tcp_close=5,tcp-closed=6"}, `--critical: the group "tcp-closed" is given twice`},
		{[]string{"-c", "sctp=5"}, `--critical: unknown group "sctp": use a type (tcp), a status (close_wait), both (tcp_close_wait), total, or a limit (ephemeral, backlog, conntrack, orphans, memory, timewait, files, limits)`},
		{[]string{"-c", "=5"}, `--critical: the name of a group is empty`},
		{[]string{"-c", "udp="}, `--critical: the group "udp" has no range: write udp=10`},
		{[]string{"-w", "close_wait=50,"}, `--warning: a comma has no range beside it: write 10,close_wait=5`},
		{[]string{"-w", "close_wait=50;limits=80"}, `--warning: "close_wait=50;limits=80" is no threshold: separate several by commas, as in tcp=10,udp=20`},
		{[]string{"-c", "udp_listen=5"}, `--critical: the group "udp_listen" cannot exist: UDP sockets have the status none, TCP sockets all the others`},
		{[]string{"-c", "tcp6=5", "--conn-type", "tcp"}, `--critical: no selected socket can be in the group "tcp6"`},
		{[]string{"-c", "listen=5", "--conn-type", "udp"}, `--critical: no selected socket can be in the group "listen"`},
		{[]string{"-c", "udp=5", "--conn-status", "listen"}, `--critical: no selected socket can be in the group "udp"`},
		{[]string{"-c", "tcp_close=5", "--conn-status", "listen"}, `--critical: no selected socket can be in the group "tcp_close"`},
		{[]string{"--test", ""}, `--test: "" is not STDOUT[,STDERR[,RETC]]: use a file, a file and an exit code`},
		{[]string{"--test", "a,b,0,d"}, `--test: "a,b,0,d" is not STDOUT[,STDERR[,RETC]]: use a file, a file and an exit code`},
		{[]string{"--test", "a,b,c"}, `--test: the exit code "c" is not a whole number`},
		{[]string{"--by", "port"}, `--by: unknown dimension "port": did you mean local-port?`},
		{[]string{"--by", "remote-adress"}, `--by: unknown dimension "remote-adress": did you mean remote-address?`},
		{[]string{"--by", "country"}, `--by: unknown dimension "country": use type, status, process, user, local-address, local-port, remote-address, remote-port, netns, unit, direction`},
		{[]string{"--by", "user,User"}, `--by: the dimension "User" is given twice`},
		{[]string{"--by", "status", "-w", "tcp=5"}, `--warning: unknown group "tcp": use a status (close_wait), total, or a limit (ephemeral, backlog, conntrack, orphans, memory, timewait, files, limits)`},
		{[]string{"--by", "type", "-w", "listen=5"}, `--warning: unknown group "listen": use a type (tcp), total, or a limit (ephemeral, backlog, conntrack, orphans, memory, timewait, files, limits)`},
		{[]string{"--by", "status,type", "-w", "tcp_listen=5"}, `--warning: unknown group "tcp_listen": use a type (tcp), a status (close_wait), both (close_wait_tcp), total, or a limit (ephemeral, backlog, conntrack, orphans, memory, timewait, files, limits)`},
		{[]string{"--by", "process", "-w", "=5"}, `--warning: the name of a group is empty`},
		{[]string{"--by", "process,status", "-w", "close_wait=5"}, `--warning: "close_wait" is no group of --by process,status: name one in full, as PROCESS_STATUS`},
		{[]string{"--by", "process,status", "-w", "java=5"}, `--warning: "java" is no group of --by process,status: name one in full, as PROCESS_STATUS`},
		{[]string{"--by", "process,status", "-w", "java_closewait=5"}, `--warning: "java_closewait" is no group of --by process,status: name one in full, as PROCESS_STATUS`},
		{[]string{"--by", "process,status", "-w", "close_wait_java=5"}, `--warning: "close_wait_java" is no group of --by process,status: name one in full, as PROCESS_STATUS`},
		{[]string{"--by", "process,type", "-w", "my_app=5"}, `--warning: "my_app" is no group of --by process,type: name one in full, as PROCESS_TYPE`},
		{[]string{"--by", "process,type,status", "-w", "java_udp_listen=5"}, `--warning: the group "java_udp_listen" cannot exist: UDP sockets have the status none, TCP sockets all the others`},
		{[]string{"--by", "local-port", "-w", "http=5"}, `--warning: "http" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--by", "local-port", "-w", "80-90=5"}, `--warning: "80-90" is no group of --by local-port: name one in full, as LOCAL-PORT`},
		{[]string{"--by", "remote-address", "-w", "10.0.0.0/8=5"}, `--warning: "10.0.0.0/8" is no group of --by remote-address: name one in full, as REMOTE-ADDRESS`},
		{[]string{"--by", "local-port", "--local-port", "8000", "-w", "80=5"}, `--warning: --local-port excludes the group "80"`},
		{[]string{"--by", "remote-address", "--remote-address", "10.0.0.0/8", "-w", "-=5"}, `--warning: --remote-address excludes the group "-"`},
		{[]string{"--by", "remote-address", "--remote-address", "!10.0.0.0/8", "-w", "10.0.0.5=5"}, `--warning: --remote-address excludes the group "10.0.0.5"`},
		{[]string{"--by", "process,status", "--process", "java", "-w", "nginx_listen=5"}, `--warning: --process excludes the group "nginx_listen"`},
		{[]string{"--by", "process", "--process", "not:java", "-w", "helper+java=5"}, `--warning: --process excludes the group "helper+java"`},
		{[]string{"--by", "process", "--process", "java", "-w", "javac+web=5"}, `--warning: --process excludes the group "javac+web"`},
		{[]string{"--by", "process,status", "--conn-status", "established", "-w", "nginx_listen=5"}, `--warning: no selected socket can be in the group "nginx_listen"`},
		{[]string{"--by", "user", "--user", "root", "-w", "nobody=0"}, `--warning: --user excludes the group "nobody"`},
		{[]string{"--by", "process", "-w", "tcp6=5"}, `--warning: "tcp6" is no group of --by process: name one in full, as PROCESS, or give the status or the type to --conn-status or --conn-type and leave out GROUP=`},
		{[]string{"-t", "99999999999"}, `--timeout: "99999999999" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"--by", "process", "-w", "java=5,JAVA=6"}, `--warning: the group "JAVA" is given twice`},
		{[]string{"--by", "process", "--zero"}, `--zero: works only with --by type and status: other groups are not known beforehand`},
		{[]string{"--top", "-1"}, `--top: -1 is not possible, use 0 for all groups, or 1 to 2147483647`},
		{[]string{"--top", "many"}, `--top: "many" is not a whole number`},
		{[]string{"--local-port", "0"}, `--local-port: "0" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--local-port", "80,65536"}, `--local-port: "65536" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--remote-port", "90-80"}, `--remote-port: "90-80" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--remote-port", "http"}, `--remote-port: "http" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--remote-port", "!"}, `--remote-port: "" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--local-address", "10.0.0.256"}, `--local-address: "10.0.0.256" is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8`},
		{[]string{"--remote-address", "10.0.0.0/33"}, `--remote-address: "10.0.0.0/33" is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8`},
		{[]string{"--remote-address", "fe80::1%eth0"}, `--remote-address: "fe80::1%eth0" is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8`},
		{[]string{"--process", ","}, `--process: give a name`},
		{[]string{"--user", "!no such user"}, `--user: unknown user "no such user": use a name or an id that this host knows`},
		{[]string{"--min-idle", "0"}, `--min-idle: "0" is not a duration: use one above 0 such as 90s, 5m or 1d`},
		{[]string{"--min-idle", "-5m"}, `--min-idle: "-5m" is not a duration: use one above 0 such as 90s, 5m or 1d`},
		{[]string{"--min-idle", "1194h"}, `--min-idle: "1194h" is more than the kernel counts: use at most 1193h`},
		{[]string{"--min-idle", ""}, `--min-idle: "" is not a duration: use one above 0 such as 90s, 5m or 1d`},
		{[]string{"--min-idle", "5m", "--test", "testdata/empty.json"}, `--min-idle: how long a connection is idle is only known on a live Linux system`},
		{[]string{"--netns", ""}, `--netns: give self, all, a name under /run/netns, a process id or a path`},
		{[]string{"--netns", "all", "--test", "testdata/empty.json"}, `--netns: a network namespace is only known on a live Linux system`},
		{[]string{"-c", "ephemeral=95", "--test", "testdata/empty.json"}, `--critical: "ephemeral" is only known on a live Linux system`},
		{[]string{"-w", "ephemeral=101"}, `--warning: ephemeral is a percentage: use a range within 0 to 100`},
		{[]string{"-w", "ephemeral=@100.5:"}, `--warning: ephemeral is a percentage: use a range within 0 to 100`},
		{[]string{"-w", "Close-Wait:10"}, `--warning: range "Close-Wait:10": "Close-Wait" is not a number; a range for a group is GROUP=RANGE, as in close-wait=10`},
		{[]string{"-w", "tcp"}, `--warning: range "tcp": "tcp" is not a number; a range for a group is GROUP=RANGE, as in tcp=10`},
		{[]string{"--source", "lsof"}, `--source: unknown source "lsof": use auto, netlink, netlink-list, proc, gopsutil`},
		{[]string{"--top", "4294967297"}, `--top: 4294967297 is not possible, use 0 for all groups, or 1 to 2147483647`},
		{[]string{"--timeout", "4294967297"}, `--timeout: "4294967297" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"--conn-status", "listen,delete-tcb"}, `--conn-status: only Windows has sockets in the status delete_tcb: leave it out`},
		{[]string{"--conn-status", "bound"}, `--conn-status: sockets in the status bound are not counted on any system: leave it out`},
		{[]string{"--conn-status", "idle"}, `--conn-status: sockets in the status idle are not counted on any system: leave it out`},
		{[]string{"--conn-type", "udp,udp6", "--conn-status", "established"}, `--conn-status: no socket can match: UDP sockets have the status none, TCP sockets all the others`},
		{[]string{"--conn-type", "tcp", "--conn-status", "none"}, `--conn-status: no socket can match: UDP sockets have the status none, TCP sockets all the others`},
		{[]string{"-c", "tcp_bound=5,tcp_delete_tcb=1"}, `--critical: sockets in the status bound are not counted on any system: leave it out`},
		{[]string{"-w", "delete=1"}, `--warning: only Windows has sockets in the status delete_tcb: leave it out`},
		{[]string{"--by", "process,status", "-w", "java_idle=1"}, `--warning: sockets in the status idle are not counted on any system: leave it out`},
		{[]string{"--by", "user", "-w", "root=5,ROOT=6"}, `--warning: the group "ROOT" is given twice`},
		{[]string{"--min-idle", "5m", "--conn-type", "udp"}, `--min-idle: only TCP connections can be idle: add tcp or tcp6 to --conn-type`},
		{[]string{"--min-idle", "5m", "--conn-status", "listen"}, `--min-idle: only connections can be idle: add one of close_wait, closing, established, fin_wait1, fin_wait2, last_ack to --conn-status`},
		{[]string{"--min-idle", "5m", "-w", "listen=5"}, `--warning: no selected socket can be in the group "listen"`},
		{[]string{"--source", "gopsutil", "--min-idle", "5m"}, `--source: gopsutil does not know how long a connection is idle, which needs netlink: leave out --min-idle or --source`},
		{[]string{"--source", "gopsutil", "--netns", "all"}, `--source: gopsutil reads this network namespace only: leave out --netns or --source`},
		{[]string{"--user", "root", "--test", "testdata/empty.json"}, `--user: a recording has the ids of users, not the name "root": use an id`},
		{[]string{"-w", "10,20"}, `--warning: more than one range without a group, the last one is "20": give one, and the others as GROUP=RANGE (-w is for WARNING, -c for CRITICAL)`},
		{[]string{"-w", "close_wait>10"}, `--warning: range "close_wait›10": "close_wait›10" is not a number; a range for a group is GROUP=RANGE, as in close_wait=10`},
		{[]string{"-w", "tcp_listen:1:"}, `--warning: range "tcp_listen:1:": ":" is left over; a range for a group is GROUP=RANGE, as in tcp_listen=1:`},
		{[]string{"-w", "limits:80"}, `--warning: range "limits:80": "limits" is not a number; a range for a group is GROUP=RANGE, as in limits=80`},
		{[]string{"-w", "/root:10"}, `--warning: range "/root:10": the shell has replaced the ~, put the range in quotes`},
		{[]string{"-w", "limits=101"}, `--warning: limits is a percentage: use a range within 0 to 100`},
		{[]string{"-w", "backlog=80,conntrack=90:120"}, `--warning: conntrack is a percentage: use a range within 0 to 100`},
		{[]string{"-w", "tcp=80%"}, `--warning: range "80%": "80%" is not a number: only limits are percentages`},
		{[]string{"-w", "close_wiat=50"}, `--warning: unknown group "close_wiat": did you mean close_wait?`},
		{[]string{"-w", "limit=80"}, `--warning: unknown group "limit": did you mean limits?`},
		{[]string{"-w", "total=20,000"}, `--warning: "000" is what a comma has cut off: write numbers without one, as in 20000`},
		{[]string{"--conn-status", "close_wiat"}, `--conn-status: unknown status "close_wiat": did you mean close_wait?`},
		{[]string{"-w", "-c", "10"}, `--warning needs a value: "-c" is the next flag`},
		{[]string{"--warning", "--critical", "5"}, `--warning needs a value: "--critical" is the next flag`},
		{[]string{"--by", "process,", "status"}, `unexpected argument "status": write lists without a blank after the comma`},
		{[]string{"-w", "limits=5,limits=6"}, `--warning: the group "limits" is given twice`},
		{[]string{"-c", "limits=95", "--test", "testdata/empty.json"}, `--critical: "limits" is only known on a live Linux system`},
		{[]string{"--source", "gopsutil", "-w", "limits=80"}, `--warning: gopsutil does not know "limits": leave it out, or --source`},
		{[]string{"--by", "process", "-w", "close_wait=10"}, `--warning: "close_wait" is no group of --by process: name one in full, as PROCESS, or give the status or the type to --conn-status or --conn-type and leave out GROUP=`},
		{[]string{"--by", "user,direction", "-w", "root=5"}, `--warning: "root" is no group of --by user,direction: name one in full, as USER_DIRECTION`},
		{[]string{"--by", "direction", "-w", "both=5"}, `--warning: "both" is no direction: use in, out or listen`},
		{[]string{"--by", "direction", "--direction", "in", "-w", "out=5"}, `--warning: --direction excludes the group "out"`},
		{[]string{"--by", "unit", "--unit", "not:ssh.*", "-w", "ssh.socket=5"}, `--warning: --unit excludes the group "ssh.socket"`},
		{[]string{"--direction", "both"}, `--direction: "both" is no direction: use in, out or listen`},
		{[]string{"--process", "1234"}, `--process: "1234" is a process id: use the name of the process`},
		{[]string{"--process", "not:/usr/bin/java"}, `--process: "/usr/bin/java" is a path: use the name of the process, "java"`},
		{[]string{"--unit", ""}, `--unit: give a name`},
		{[]string{"--remote-address", "10.0.0.1:443"}, `--remote-address: "10.0.0.1:443" has a port: give the address "10.0.0.1" here, and the port to the flag for ports`},
		{[]string{"--local-address", "[fd00::1]:443"}, `--local-address: "[fd00::1]:443" has a port: give the address "fd00::1" here, and the port to the flag for ports`},
		{[]string{"--local-port", " 443"}, `--local-port: there is a blank in front of "443": leave it out, and write not: to exclude something (NRPE and Nagios cut at a !)`},
		{[]string{"--process", " java,web"}, `--process: there is a blank in front of "java,web": leave it out, and write not: to exclude something (NRPE and Nagios cut at a !)`},
		{[]string{"--local-port", "not:"}, `--local-port: "" is not a port: use 1 to 65535, or a range such as 8000-8100`},
		{[]string{"--source", "gopsutil", "--by", "unit"}, `--source: gopsutil does not know units, which need netlink: leave out unit or --source`},
		{[]string{"--conn-type", "tcp,not:tcp"}, `--conn-type: no socket can match: everything is excluded`},
		{[]string{"--conn-type", "tcp", "--conn-status", "close,not:close"}, `--conn-status: no socket can match: everything is excluded`},
		{[]string{"--source", "proc", "--unit", "nginx.service"}, `--source: proc does not know units, which need netlink: leave out unit or --source`},
		{[]string{"--min-idle", "50d"}, `--min-idle: "50d" is more than the kernel counts: use at most 1193h`},
		{[]string{"--timeout", "1.5"}, `--timeout: "1.5" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"--timeout", "500ms"}, `--timeout: "500ms" is not possible, use whole seconds, 1 to 2147483647`},
		{[]string{"--conn-type", "<b>|x=1\n\x1b[31m"}, `--conn-type: unknown type "‹b›_x=1__[31m": use all, tcp, tcp6, udp, udp6`},
	} {
		t.Run(strings.Join(test.arguments, " "), func(t *testing.T) {
			if output, code := reply(test.arguments...); output != "[UNKNOWN] - "+test.message+"\n" || code != 3 {
				t.Errorf("got  %d %swant %s", code, output, test.message)
			}
		})
	}
}

func TestSpellingsOfTypesAndStatuses(t *testing.T) {
	for _, test := range []struct{ arguments, types, statuses string }{
		{"", "", ""},
		{"--conn-type udp --conn-type tcp,udp", "udp,tcp", ""},
		{"--conn-type=TCP6,all", "", ""},
		{"--conn-type= tcp", "tcp", ""},
		{"--conn-status=Close-Wait,CLOSED,fin_wait_1,fin-wait-2,syn_received,syn_rcvd", "", "CLOSE_WAIT,CLOSE,FIN_WAIT1,FIN_WAIT2,SYN_RECV"},
		{"--conn-status=delete,bound,IDLE --test testdata/empty.json", "", "DELETE_TCB,BOUND,IDLE"},
		{"--conn-type tcp,udp --conn-status none,close", "tcp,udp", "NONE,CLOSE"},
		{"--conn-type tcp4,UDP4", "tcp,udp", ""},
		{"--conn-type not:udp,!udp6", "!udp,!udp6", ""},
		{"--conn-type all,not:tcp6", "!tcp6", ""},
		{"--conn-status estab,LISTENING", "", "ESTABLISHED,LISTEN"},
		{"--conn-status listen,close,not:close", "", "LISTEN,CLOSE,!CLOSE"},
	} {
		selected := configOf(t, strings.Fields(strings.Replace(test.arguments, "= ", "=", 1))...).question
		list := func(names, excluded []string) string {
			for _, name := range excluded {
				names = append(names, "!"+name)
			}
			return strings.Join(names, ",")
		}
		if got := list(selected.types, selected.notTypes); got != test.types {
			t.Errorf("%s: got %s", test.arguments, got)
		}
		if got := list(selected.statuses, selected.notStatuses); got != test.statuses {
			t.Errorf("%s: got %s", test.arguments, got)
		}
	}
}

func TestStatusesAsTheOutputPrintsThem(t *testing.T) {
	if got := configOf(t, "--conn-status", "CLOSE WAIT, fin wait2").question.statuses; strings.Join(got, ",") != "CLOSE_WAIT,FIN_WAIT2" {
		t.Errorf("got %q", got)
	}
	for _, typed := range []string{"!listen", "not:listen", "not:LISTENING"} {
		got := configOf(t, "--conn-status", typed).question
		for _, status := range statusesOf(thisSystem) {
			if is := len(got.kinds([]string{status})) > 0; is == (status == "LISTEN") {
				t.Errorf("%s: %s counts: %t", typed, status, is)
			}
		}
	}
}

// With a filter, another grouping or a name of a group, nothing found is judged.
func TestNothingFoundIsJudgedWithFlagsOfOurs(t *testing.T) {
	for arguments, want := range map[string]bool{
		"-c 1:": false, "-c 1: --conn-type tcp --conn-status listen --always-ok --verbose --top 5": false,
		"-c 1: --local-port 443": true, "-c 1: --by process": true, "-c 1: --by type,status": true, "-c listen=1:": true, "-c tcp_listen=1:": true, "-w tcp=5 -c 1:": true,
	} {
		config, err := parseArguments(strings.Fields(arguments))
		if err == nil && config.levels.isJudgedEmpty != want {
			t.Errorf("%s: got %t", arguments, !want)
		}
	}
	if thisSystem == "linux" && (!configOf(t, "--min-idle", "5m").levels.isJudgedEmpty || !configOf(t, "--netns", "all").levels.isJudgedEmpty) {
		t.Error("--min-idle or --netns is not taken for a flag of ours")
	}
}

func TestWhatIsTakenIsKept(t *testing.T) {
	c := configOf(t, strings.Fields("--timeout 2147483647 --top 2147483647 --by user,PROCESS --always-ok --no-perfdata --no-details -v -d")...)
	if c.timeout != 2147483647*time.Second || c.top != 2147483647 || c.levels.by.names(",") != "user,process" || !c.alwaysOK || !c.noPerfdata || !c.noDetails || !c.verbose || !c.debug {
		t.Errorf("got %+v", c)
	}
	if c := configOf(t); c.timeout != 30*time.Second || c.top != 10 || c.levels.by.names(",") != "type,status" || c.netns != netnsSelf || c.source != sourceAuto || c.recording != nil {
		t.Errorf("got %+v", c)
	}
}
