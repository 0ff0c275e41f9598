package main

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEachDumpIsReadAgainAndFromAnotherSource(t *testing.T) {
	list := strings.Repeat(sourceNetlink+" ", 3)
	for arguments, want := range map[string]string{
		"":                       list + sourceProc + " ",
		"--source netlink":       list,
		"--source netlink-list":  list,
		"--source gopsutil":      sourceGopsutil + " ",
		"--source proc":          sourceProc + " ",
		"--min-idle 5m":          list + sourceProc + " ",
		"--by netns":             list + sourceProc + " ",
		"--netns /proc/1/ns/net": list + sourceProc + " ",
	} {
		config := configOf(t, strings.Fields(arguments)...)
		h := &host{source: config.source, spaces: []namespace{{}}, holders: noProcesses(t).holders}
		if config.netns != netnsSelf {
			h.spaces = []namespace{{paths: []string{config.netns}}}
		}
		for _, d := range h.dumps(t.Context(), []*tally{config.question.tally(config.levels.by)}) {
			got, expected := "", want
			for _, from := range d.sources {
				got += from.name + " "
			}
			if !isUDP(d.name) && strings.HasPrefix(want, list) && config.source != sourceList {
				expected = sourceTotals + " " + want // which leaves it to the others where it does not serve
			}
			if got != expected {
				t.Errorf("%s, %s: got %s", arguments, d.name, got)
			}
		}
	}
}

func TestUsersAreNamedAsTheyAreShownHere(t *testing.T) {
	first := procTree(t, map[string]string{"self/uid_map": "0 0 4294967295\n"})
	inner := procTree(t, map[string]string{"self/uid_map": "0 1000 1\n", "sys/kernel/overflowuid": "65534\n"})
	for _, test := range []struct {
		name string
		proc procfs
		id   uint32
		want string
	}{
		{"with a name", first, 0, "root"},
		{"without a name", first, 2_000_000_001, "2000000001"},
		{"above 31 bits", first, 4294967294, "4294967294"},
		{"of another user namespace", inner, 65534, hidden},
		{"of this user namespace", inner, 0, "root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := host{procfs: test.proc}
			if got := h.userText(test.id); got != test.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// heldBy answers with established connections that have these inodes.
func heldBy(inodes ...uint32) kernel {
	var bodies [][]byte
	for _, inode := range inodes {
		bodies = append(bodies, inetDiagMsg{Family: unix.AF_INET, State: 1, LocalPort: 80, RemotePort: 5000, Inode: inode}.message())
	}
	return sends(bodies)
}

// countedOn returns how many sockets each process has on a recorded host, and
// what was told of it. The change is made when the kernel has been asked.
func countedOn(t *testing.T, files map[string]string, asked kernel, change func(procfs)) (found map[string]int, told string) {
	t.Helper()
	var log strings.Builder
	byName := (&question{types: []string{"tcp"}}).tally(grouping{byProcess})
	root := procTree(t, files)
	diag := askingKernels(t, "tcp", byName, func(request netlinkMessage) [][]byte {
		change(root)
		return asked(request)
	})
	diag.host = &host{procfs: root, log: debugLog{&log}}
	diag.host.holders = holdersUnder(root, diag.host.log)
	result, err := count([]dump{
		{name: "tcp", sources: []source{diag.source(anyKernel)}},
		{isLast: true, sources: []source{{"", diag.readLate}}},
	}, byName)
	if err != nil {
		t.Fatal(err)
	}
	found = map[string]int{}
	for _, r := range result.counts[0].rows {
		found[r.key] = r.known
	}
	return found, log.String()
}

func TestSocketsThatCameWhileProcessesWereLookedThrough(t *testing.T) {
	files := map[string]string{"1/comm": "init\n", "7/comm": "web\n", "7/fd/3": "-> socket:[1]"}
	unchanged := func(procfs) {}
	many := make([]uint32, maxLate+100)
	for i := range many {
		many[i] = uint32(1000 + i)
	}
	for _, test := range []struct {
		name   string
		asked  kernel
		change func(procfs)
		want   map[string]int
		looks  int
		isRoot bool // the look is only worth it for one who sees all
	}{
		{"none", heldBy(1, 1), unchanged, map[string]int{"web": 2}, 1, false},
		{"no process holds it", heldBy(1, 0), unchanged, map[string]int{"web": 1, nothing: 1}, 1, false},
		{
			"the process is found later", heldBy(1, 2),
			func(proc procfs) { addToTree(t, proc, map[string]string{"7/fd/4": "-> socket:[2]"}) },
			map[string]int{"web": 2}, 2, true,
		},
		{"closed meanwhile", heldBy(1, 2, 3), unchanged, map[string]int{"web": 1, hidden: 2}, 2, true},
		{"more than are kept", heldBy(many...), unchanged, map[string]int{hidden: len(many)}, 2, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.isRoot && unix.Geteuid() != 0 {
				t.Skip("run the test as root")
			}
			got, told := countedOn(t, files, test.asked, test.change)
			if looks := strings.Count(told, "sockets of processes"); !maps.Equal(got, test.want) || looks != test.looks {
				t.Errorf("got %v after %d looks, want %v after %d", got, looks, test.want, test.looks)
			}
		})
	}
}

// lockedText is a text that is written from several sides.
type lockedText struct {
	sync.Mutex
	strings.Builder
}

func (l *lockedText) Write(text []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Builder.Write(text)
}

func TestOneLookAtTheProcessesServesAllTypesAndNamespaces(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("run the test as root")
	}
	var log lockedText
	root := procTree(t, map[string]string{"7/comm": "web\n", "7/fd/3": "-> socket:[1]"})
	h := &host{procfs: root, log: debugLog{&log}}
	h.holders = holdersUnder(root, h.log)
	byName := (&question{}).tally(grouping{byProcess})
	// A run with a violation reads the sockets twice.
	for range 2 {
		p := &pass{host: h, ctx: t.Context(), fields: byName.fields}
		dumps := []dump{{isLast: true, sources: []source{{"", p.readLate}}}}
		for i := range 20 {
			diag := &sockDiag{pass: p, tallies: []*tally{byName}, types: []string{"tcp"}, dial: dialing(t, heldBy(1, uint32(i+2)))}
			dumps = append([]dump{{name: fmt.Sprint(i), sources: []source{diag.source(anyKernel)}}}, dumps...)
		}
		result, err := count(dumps, byName)
		if err != nil {
			t.Fatal(err)
		}
		if known, _ := result.counts[0].sum(); known != 40 {
			t.Errorf("got %d sockets", known)
		}
	}
	if looks := strings.Count(log.String(), "sockets of processes"); looks != 2 {
		t.Errorf("%d looks:\n%s", looks, log.String())
	}
}

func TestFieldsThatNobodyAsksForCostNothing(t *testing.T) {
	var log strings.Builder
	asked := (&question{types: []string{"tcp"}}).tally(grouping{byStatus})
	diag := askingKernels(t, "tcp", asked, heldBy(1, 2))
	diag.host.log, diag.holders.log, diag.holders.walks = debugLog{&log}, debugLog{&log}, 0
	countedBy(t, diag, asked)
	if strings.Contains(log.String(), "sockets of processes") {
		t.Errorf("the processes are looked through: %s", log.String())
	}
}
