package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secret must not appear in any output.
const secret = "hunter2"

func TestRecordingsOfFailedReadings(t *testing.T) {
	folder := t.TempDir()
	errors := filepath.Join(folder, "errors")
	nothing := filepath.Join(folder, "nothing")
	for path, text := range map[string]string{errors: secret, nothing: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := "testdata/empty.json"
	failed := "the recording stands for a failed reading"
	tests := []struct{ name, recording, message string }{
		{"no errors and success", good + "," + nothing + ",0", ""},
		{"errors left out", good + ",,0", ""},
		{"exit code left out", good + "," + nothing + ",", ""},
		{"errors", good + "," + errors, failed},
		{"exit code", good + ",,1", failed},
		{"negative exit code", good + "," + nothing + ",-9", failed},
		{"errors that are missing", good + "," + folder + "/gone", `the recording "` + folder + `/gone" cannot be opened: no such file or directory`},
		{"errors that are a folder", good + "," + folder, `the recording "` + folder + `" cannot be opened: it is not a regular file`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output, code := run(t, "--test", test.recording)
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
	path := filepath.Join(t.TempDir(), "recording.json")
	tests := []struct{ name, content, message string }{
		{"empty", ``, "byte 0: it must be a JSON array of connections"},
		{"not JSON", `root:` + secret, "byte 0: it must be a JSON array of connections"},
		{"an object", `{"` + secret + `": 1}`, "byte 1: it must be a JSON array of connections"},
		{"not ended", `[{"proto": "tcp", "status": "` + secret + `"}`, "byte 38: the array does not end"},
		{"broken element", `[{"proto": "` + secret, "byte 1: it is not valid JSON"},
		{"something behind", `[] ` + secret, "byte 3: something follows the array"},
		{"second value behind", `[] ["` + secret + `"]`, "byte 4: something follows the array"},
		{"a string as element", `["` + secret + `"]`, "byte 1: a connection must be an object"},
		{"null as element", `[null]`, "byte 1: a connection must be an object"},
		{"empty element", `[{}]`, "byte 1: a connection must have proto, or family and type"},
		{"family alone", `[{"family": 2, "status": "` + secret + `"}]`, "byte 1: a connection must have proto, or family and type"},
		{"unknown proto", `[{"proto": "` + secret + `"}]`, "byte 1: proto must be tcp, tcp6, udp or udp6"},
		{"number as status", `[{"proto": "tcp", "status": 5}]`, "byte 1: a field of a connection has a value of the wrong kind"},
		{"text as family", `[{"family": "` + secret + `", "type": 1}]`, "byte 1: a field of a connection has a value of the wrong kind"},
		{"second element bad", `[{"proto": "tcp", "status": "LISTEN"}, {"proto": 5}]`, "byte 37: a field of a connection has a value of the wrong kind"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			output, code := run(t, "--test", path)
			if strings.Contains(output, secret) {
				t.Errorf("the content is shown: %s", output)
			}
			_, got, _ := strings.Cut(strings.TrimSpace(output), " is malformed at ")
			if got != test.message || code != 3 {
				t.Errorf("got  %d %swant 3 %s", code, output, test.message)
			}
		})
	}
}

func TestFilesThatAreNoRecordingsAreNotOpened(t *testing.T) {
	for _, path := range []string{"/dev/zero", "/dev/stdin", "testdata", "testdata/missing.json"} {
		output, code := run(t, "--test", path)
		if code != 3 || !strings.HasPrefix(output, `[UNKNOWN] - the recording "`+path+`" cannot be opened: `) {
			t.Errorf("%s: got %d %s", path, code, output)
		}
	}
}
