package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// secret must not appear in any output.
const secret = "hunter2"

// recordingOf writes a recording and returns its path.
func recordingOf(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecordingsOfFailedReadings(t *testing.T) {
	folder := t.TempDir()
	told, silent := filepath.Join(folder, "told"), filepath.Join(folder, "silent")
	for path, text := range map[string]string{told: secret, silent: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := "testdata/empty.json"
	failed := "the recording says that its reading failed"
	for _, test := range []struct{ name, recording, message string }{
		{"no errors and success", good + "," + silent + ",0", ""},
		{"errors left out", good + ",,0", ""},
		{"exit code left out", good + "," + silent + ",", ""},
		{"errors", good + "," + told, failed},
		{"exit code", good + ",,1", failed},
		{"negative exit code", good + "," + silent + ",-9", failed},
		{"errors that are missing", good + "," + folder + "/gone", `the recording "` + folder + `/gone" cannot be opened: no such file or directory`},
		{"errors that are a folder", good + "," + folder, `the recording "` + folder + `" cannot be opened: it is not a regular file`},
		{"a folder", "testdata", `the recording "testdata" cannot be opened: it is not a regular file`},
		{"missing", "testdata/missing.json", `the recording "testdata/missing.json" cannot be opened: no such file or directory`},
		{"a device that never ends", "/dev/zero", `the recording "/dev/zero" cannot be opened: it is not a regular file`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if thisSystem == "windows" && strings.Contains(test.message, "opened: ") {
				t.Skip("Windows has other words")
			}
			output, code := reply("--test", test.recording)
			want, wantCode := "[UNKNOWN] - "+test.message+"\n", 3
			if test.message == "" {
				want, wantCode = "[OK] - No connections of type \"all\" in status \"all\" found.\n", 0
			}
			if output != want || code != wantCode {
				t.Errorf("got  %d %swant %d %s", code, output, wantCode, want)
			}
		})
	}
}

func TestMalformedRecordingsAreUnknownAndNotShown(t *testing.T) {
	const wrongKind = "a field has a value of the wrong kind"
	for _, test := range []struct{ content, message string }{
		{``, "it must be a JSON array of connections"},
		{`root:` + secret, "it must be a JSON array of connections"},
		{`{"` + secret + `": 1}`, "it must be a JSON array of connections"},
		{`[{"proto": "tcp", "status": "` + secret + `"}`, "the array does not end"},
		{`[{"proto": "` + secret, "it is not valid JSON"},
		{`[{"proto": "tcp"}, ` + secret + `]`, "it is not valid JSON"},
		{`[] ` + secret, "something follows the array"},
		{`[] ["` + secret + `"]`, "something follows the array"},
		{`["` + secret + `"]`, "connection 1: it must be an object"},
		{`[null]`, "connection 1: it must be an object"},
		{`[{}]`, "connection 1: it must have proto, or family and type"},
		{`[{"family": 2, "status": "` + secret + `"}]`, "connection 1: it must have proto, or family and type"},
		{`[{"proto": "` + secret + `"}]`, "connection 1: proto must be tcp, tcp6, udp or udp6"},
		{`[{"proto": "tcp", "status": 5}]`, "connection 1: " + wrongKind},
		{`[{"family": "` + secret + `", "type": 1}]`, "connection 1: " + wrongKind},
		{`[{"proto": "tcp", "localaddr": "` + secret + `"}]`, "connection 1: " + wrongKind},
		{`[{"proto": "tcp", "status": "LISTEN"}, {"proto": "udp"}, {"proto": 5}]`, "connection 3: " + wrongKind},
	} {
		path := recordingOf(t, test.content)
		for _, more := range []string{"--by=status", "-c=0"} {
			output, code := reply("--test", path, more)
			if want := "[UNKNOWN] - the recording " + quote(path) + " is malformed: " + test.message + "\n"; code != 3 || output != want {
				t.Errorf("%s: got  %d %swant %s", test.content, code, output, want)
			}
		}
	}
}

func TestWhatARecordingHasOfASocket(t *testing.T) {
	for _, test := range []struct{ element, want string }{
		{
			`{"family":10,"type":1,"localaddr":{"ip":"::ffff:10.0.0.1","port":80},"remoteaddr":{"ip":"fd00:0::1","port":443},"status":"Close-Wait","uids":[33,0],"pid":7}`,
			"tcp6 CLOSE_WAIT ? 33 10.0.0.1 80 fd00::1 443 ? ? ",
		},
		{`{"proto":"udp6","status":"ESTABLISHED"}`, "udp6 NONE ? ? ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":""}`, "tcp NONE ? ? ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":"NEW_STATE","uids":[-1]}`, "tcp NEW_STATE ? - ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":"?","pid":-1}`, "tcp _? - - ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":"LISTEN","localaddr":{"ip":"*","port":80},"remoteaddr":{"ip":"::","port":0}}`, "tcp LISTEN ? ? * 80 - - ? ? "},
		{`{"proto":"tcp","status":"LISTEN","localaddr":{"ip":"","port":0},"remoteaddr":{"ip":"a|b:c","port":1}}`, "tcp LISTEN ? ? - 0 a_b_c 1 ? ? "},
		{`{"family":28,"type":2,"localaddr":{"ip":"fe80::1%eth0","port":53}}`, "udp6 NONE ? ? fe80::1 53 ? ? ? ? "},
		{`{"proto":"tcp","status":"LISTEN","unit":"nginx.service","pid":7}`, "tcp LISTEN ? ? ? ? ? ? ? nginx.service "},
		{`{"proto":"tcp","status":"LISTEN","unit":"-","pid":7}`, "tcp LISTEN ? ? ? ? ? ? ? - "},
		{`{"proto":"tcp","status":"LISTEN","unit":"?","pid":7}`, "tcp LISTEN ? ? ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":"LISTEN","unit":"","pid":7}`, "tcp LISTEN ? ? ? ? ? ? ? _ "},
		{`{"proto":"tcp","status":"LISTEN","pid":0}`, "tcp LISTEN ? ? ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":"TIME_WAIT","pid":0,"uids":[]}`, "tcp TIME_WAIT - - ? ? ? ? ? ? "}, // no process holds these
		{`{"proto":"tcp","status":"SYN_RECV"}`, "tcp SYN_RECV - - ? ? ? ? ? ? "},
		{`{"proto":"tcp","status":"TIME_WAIT","pid":7,"uids":[33]}`, "tcp TIME_WAIT ? 33 ? ? ? ? ? ? "},
		{`{"family":1,"type":1}`, ""},
	} {
		s, err := parseRecorded([]byte(test.element))
		got := ""
		if s.proto != "" {
			got = strings.ReplaceAll(string(grouping(dimensions).key(nil, &s)), keySeparator, " ")
		}
		if err != nil || got != test.want {
			t.Errorf("%s: got  %s, %v\nwant %s", test.element, got, err, test.want)
		}
	}
}

// A recording has units only where somebody has added them, and directions as far
// as it has addresses.
func TestUnitsAndDirectionsOfARecording(t *testing.T) {
	for _, test := range []struct{ arguments, text, values string }{
		{
			"--by unit", "?: 2, nginx.service: 2, tomcat9.service: 2, -: 1, docker-3f2a1bc0d9e8: 1, session-3.scope: 1, ssh.socket: 1",
			"?=2 nginx.service=2 tomcat9.service=2 -=1 docker-3f2a1bc0d9e8=1 session-3.scope=1 ssh.socket=1",
		},
		{"--unit tomcat9.service,docker-* --by unit,status", "tomcat9.service CLOSE WAIT: 2, docker-3f2a1bc0d9e8 CLOSE WAIT: 1, ? NONE: 0 to 2", "tomcat9.service_CLOSE_WAIT=2 docker-3f2a1bc0d9e8_CLOSE_WAIT=1"},
		{"--by unit,status --conn-type tcp -w tomcat9.service_close_wait=1 --no-details --top 1", "tomcat9.service CLOSE WAIT: 2 [WARNING] (+4 more: 4)", "tomcat9.service_CLOSE_WAIT=2"},
		{"--by direction", "out: 4, in: 3, listen: 2, -: 1", "out=4 in=3 listen=2 -=1"},
		{"--by direction,type --direction in,listen", "in tcp: 2, listen tcp: 1, in tcp6: 1, listen tcp6: 1", "in_tcp=2 listen_tcp=1 in_tcp6=1 listen_tcp6=1"},
	} {
		output, _ := reply(append(strings.Fields(test.arguments), "--test", "testdata/systemd-and-containers.json")...)
		if textOf(output) != test.text || valuesOf(output) != test.values {
			t.Errorf("%s: got  %swant %s|%s", test.arguments, output, test.text, test.values)
		}
	}
}

// recordingOfTexts returns a recording that has the texts wherever it can have
// any, and three sockets for each.
func recordingOfTexts(t testing.TB, texts ...string) string {
	t.Helper()
	var rows []map[string]any
	for i, text := range texts {
		if len(texts) > 1 {
			text = strconv.Itoa(i) + text // so that each has a label of its own
		}
		address := map[string]any{"ip": text, "port": 2_000_000_000 + i}
		rows = append(rows,
			map[string]any{"family": 2, "type": 1, "localaddr": address, "remoteaddr": address, "status": text, "uids": []int{-i}, "pid": -i},
			map[string]any{"proto": "tcp6", "status": text},
			map[string]any{"proto": "udp", "status": text})
	}
	content, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	return recordingOf(t, string(content))
}

func TestWhateverARecordingHoldsIsPrintedHarmlessly(t *testing.T) {
	all := recordingOfTexts(t, outsideTexts...)
	for _, arguments := range []string{"", "--by user,status -w total=0", "--by process,local-address,local-port,remote-port -w total=0 -v"} {
		output, code := reply(append(strings.Fields(arguments), "--test", all)...)
		if mustBeHarmless(t, output, 3*len(outsideTexts)); code == 3 {
			t.Errorf("%s: %s", arguments, output)
		}
	}
	for _, text := range outsideTexts {
		recording := recordingOfTexts(t, text)
		for _, arguments := range []string{"-w 0", "--by status,local-address -w total=0"} {
			output, code := reply(append(strings.Fields(arguments), "--test", recording, "--top=0")...)
			if mustBeHarmless(t, output, 3); code == 3 {
				t.Errorf("%.50q, %s: %s", text, arguments, output)
			}
		}
	}
}

// The files of a recording may hold anything, and be called anything.
func TestFilesThatAreNoRecordingsAreNeverShown(t *testing.T) {
	folder := t.TempDir()
	for i, text := range outsideTexts {
		bad := filepath.Join(folder, strconv.Itoa(i))
		name := strings.NewReplacer("/", "", "\x00", "", ",", "").Replace(text)
		if err := os.WriteFile(bad+name, nil, 0o600); err == nil { // not every system takes every name
			bad += name
		}
		if err := os.WriteFile(bad, []byte(text+secret), 0o600); err != nil {
			t.Fatal(err)
		}
		const good = "testdata/empty.json"
		for _, value := range []string{bad, good + "," + bad, bad + "," + good, good + ",," + text + "x", bad + "," + bad + "," + text, folder + text} {
			output, code := reply("--test", value)
			if _, err := harmless(output); err != nil || code != 3 || strings.Contains(output, secret) {
				t.Errorf("--test %.100q: %d %s %v", value, code, output, err)
			}
		}
	}
}

func FuzzRecording(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil || len(paths) == 0 {
		f.Fatal(err, paths)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(content) < 4<<10 {
			f.Add(content)
		}
	}
	for _, text := range []string{
		``, `[`, `[]`, `[] `, `[,]`, `[1]`, `[null]`, `[{}]`, `[{"proto": "udp"}]`, `[{"proto":"tcp","status":"LISTEN"},]`, `[{"proto":"tcp"} {"proto":"tcp"}]`, `[] []`,
		`[{"family":2,"type":1,"localaddr":{"ip":"::1","port":4294967295},"pid":-1,"uids":[-1,4294967295]}]`,
		`[{"PROTO":"tcp","Status":"a|b=1\n<b>"},{"proto":"tcp6","proto":"udp6","status":"\ud800"}]`,
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "recording.json")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, by := range []string{"type,status", "status,process,user,remote-address,remote-port,local-address,local-port"} {
			output, code := reply("--by="+by, "--top=0", "-c=total=5", "--test="+path)
			metrics, err := harmless(output)
			if err != nil {
				t.Fatal(err)
			}
			if code != 3 {
				total := metrics[len(metrics)-1]
				mustBeHarmless(t, output, int(total.value))
			}
		}
	})
}
