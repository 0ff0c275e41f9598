package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// statOf returns a /proc/PID/stat in which the process began at the time.
func statOf(name, started string) string {
	return "1 (" + name + ") S" + strings.Repeat(" 1", 18) + " " + started + " 0 0\n"
}

// A recorded namespace is a folder with one file for what everybody may see of
// it, and another one that stands for it.
func namespaceTree(t *testing.T, files map[string]string) namespaceFinder {
	t.Helper()
	root := procTree(t, files)
	for _, letter := range []string{"a", "b"} {
		addToTree(t, root, map[string]string{"spaces/" + letter + "/dev": "", "spaces/" + letter + "/net": ""})
	}
	holding := holdersUnder(root, debugLog{})
	return namespaceFinder{root, filepath.Join(string(root), "names"), func(pid int32) string { return holding.ofProcess(pid).process }}
}

// in returns the files of a process in a recorded namespace.
func in(letter, pid, comm, started string) map[string]string {
	return map[string]string{
		pid + "/net/dev": "-> ../../spaces/" + letter + "/dev",
		pid + "/ns/net":  "-> ../../spaces/" + letter + "/net",
		pid + "/comm":    comm + "\n",
		pid + "/stat":    statOf(comm, started),
	}
}

func joined(trees ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, tree := range trees {
		for name, content := range tree {
			all[name] = content
		}
	}
	return all
}

func without(tree map[string]string, dropped ...string) map[string]string {
	rest := joined(tree)
	for _, name := range dropped {
		delete(rest, name)
	}
	return rest
}

// texts describes populations, each with the name of its oldest process and the
// processes that stand for it.
func (f namespaceFinder) texts(all map[uint64]*population) (texts []string) {
	for _, p := range all {
		text := f.nameProcess(p.oldest) + ":"
		slices.Sort(p.paths)
		for _, path := range p.paths {
			text += " " + strings.TrimSuffix(strings.TrimPrefix(path, string(f.procfs)+"/"), "/ns/net")
		}
		if p.denied != nil {
			text += " denied"
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return texts
}

func TestProcessesOfEachNamespaceAreFound(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"the oldest one gives its name", joined(in("a", "7", "younger", "300"), in("a", "8", "oldest", "100"), in("a", "9", "young) (er", "200")), []string{"oldest: 7 8 9"}},
		{"each on its own", joined(in("a", "7", "web", "100"), in("b", "8", "database", "100")), []string{"database: 8", "web: 7"}},
		{"a process that is gone before it is looked at", joined(in("a", "7", "web", "200"), map[string]string{"8/comm": "gone\n"}), []string{"web: 7"}},
		{"a process that goes while it is looked at", joined(in("a", "7", "web", "200"), without(in("a", "8", "going", "100"), "8/ns/net")), []string{"web: 7"}},
		{"all processes go while they are looked at", without(in("a", "8", "going", "100"), "8/ns/net"), []string{"?:"}},
		{"a process that goes a little later", joined(in("a", "7", "web", "200"), without(in("a", "8", "going", "100"), "8/comm", "8/stat")), []string{"web: 7 8"}},
		{"one may be looked into, one may not", joined(in("a", "7", "web", "200"), without(in("a", "8", "secret", "100"), "8/ns/net"), map[string]string{"8/ns": ""}), []string{"secret: 7 denied"}},
		{"none may be looked into", joined(without(in("a", "8", "secret", "100"), "8/ns/net"), map[string]string{"8/ns": ""}), []string{"secret: denied"}},
		{
			"the first thread has ended",
			joined(in("a", "90", "headless", "100"), map[string]string{"10/comm": "headless\n", "10/task/10": "", "10/task/90": "", "10/stat": statOf("headless", "50")}),
			[]string{"headless: 90 90"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := namespaceTree(t, test.files)
			all, err := f.populations()
			if got := f.texts(all); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got  %q, %v\nwant %q", got, err, test.want)
			}
		})
	}
}

// seesAll makes the tree that of the host: it has the kernel's own threads.
func seesAll(*testing.T) map[string]string {
	return map[string]string{"1/": "", "2/stat": "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"}
}

func TestAllNamespacesOfARecordedHost(t *testing.T) {
	self := map[string]string{"self/net/dev": "-> ../../spaces/a/dev", "self/ns/net": "-> ../../spaces/a/net"}
	gone := without(in("b", "8", "going", "100"), "8/ns/net")
	denied := joined(gone, map[string]string{"8/ns": ""})
	for _, test := range []struct {
		name    string
		files   map[string]string
		want    string // the names, and a star for our own one
		message string
	}{
		{"ours alone", in("a", "7", "web", "100"), "web*", ""},
		{"two", joined(in("a", "7", "web", "100"), in("b", "8", "database", "100")), "database web*", ""},
		{"two of the same name", joined(in("a", "7", "web", "100"), in("b", "8", "web", "100")), "web web*", ""},
		{"the processes of one have ended meanwhile", joined(in("a", "7", "web", "100"), gone), "web*", ""},
		{"ours needs no rights", without(joined(in("a", "7", "web", "100"), map[string]string{"7/ns": ""}), "7/ns/net"), "web*", ""},
		{"another one needs rights", joined(in("a", "7", "web", "100"), denied), "", "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := namespaceTree(t, joined(self, seesAll(t), test.files))
			all, err := f.find(netnsAll, true)
			var got []string
			for _, space := range all {
				if space.isOwn() {
					space.name += "*"
				}
				got = append(got, space.name)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != test.want || (err != nil) != (test.message != "") || err != nil && !strings.HasSuffix(err.Error(), test.message) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestAllNamespacesAreRefusedWhereNotAllAreSeen(t *testing.T) {
	self := joined(in("a", "self", "test", "1"), in("a", "7", "web", "100"))
	for name, test := range map[string]struct {
		files   map[string]string
		message string
	}{
		"no /proc":         {nil, "the network namespace is not known: "},
		"hidden processes": {self, "not all processes are seen here"},
		"a PID namespace":  {joined(self, map[string]string{"1/": "", "2/stat": "2 (sh) S 0 0 0 0 -1 4194304 0 0"}), "from inside a container's PID namespace not all network namespaces are seen"},
	} {
		t.Run(name, func(t *testing.T) {
			if all, err := namespaceTree(t, test.files).find(netnsAll, true); err == nil || !strings.HasPrefix(err.Error(), test.message) {
				t.Errorf("got %v, %v", all, err)
			}
		})
	}
}

func TestNamespaceThatIsAskedFor(t *testing.T) {
	f := namespaceTree(t, joined(seesAll(t), in("a", "self", "test", "1"), in("a", "7", "web", "100"), in("b", "8", "database", "100"), map[string]string{
		"names/stale": "", "names/ours": "-> /proc/self/ns/net",
	}))
	const missing = "there is no network namespace of this name, process id or path"
	for _, test := range []struct {
		wanted, name, message string
	}{
		{netnsSelf, "web", ""},
		{"7", "web", ""}, // ours needs no rights
		{"/proc/self/ns/net", "ours", ""},
		{"ours", "ours", ""},
		{"9", "", missing},
		{"no-such-name", "", missing},
		{"/no/such/path", "", missing},
		{"stale", "", "this is not a network namespace"},
		{"8", "", "this is not a network namespace"}, // it is a recorded one
		{"/etc/passwd", "", "this is not a network namespace"},
	} {
		t.Run(test.wanted, func(t *testing.T) {
			all, err := f.find(test.wanted, true)
			switch {
			case test.message != "":
				if want := `--netns: "` + test.wanted + `": ` + test.message; err == nil || err.Error() != want {
					t.Errorf("got %v, %v", all, err)
				}
			case err != nil || len(all) != 1 || all[0].name != test.name:
				t.Errorf("got %v, %v", all, err)
			}
		})
	}
	if all, err := f.find(netnsSelf, false); err != nil || len(all) != 1 || all[0].name != "" || !all[0].isOwn() {
		t.Errorf("got %v, %v", all, err)
	}
}
