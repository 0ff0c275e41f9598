package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestHoldersAreShownByProgramUserAndUnit(t *testing.T) {
	var workers []string
	for i := range 30 {
		workers = append(workers, fmt.Sprintf("2 tcp CLOSE php-fpm[%d] www-data - - unit=php8.2-fpm.service", 100+i))
	}
	for _, test := range []struct {
		name    string
		sockets []string
		want    string // "" where there is no line
	}{
		{"one process", []string{"2 tcp CLOSE java[7] root"}, "java (root) 2"},
		{"processes in the order of their ids", []string{"tcp CLOSE java[11] root", "2 tcp CLOSE java[9] root"}, "java (root) 3 in 2 processes: 9, 11"},
		{"three ids at the most", []string{"tcp CLOSE java[7] root", "tcp CLOSE java[8] root", "tcp CLOSE java[9] root"}, "java (root) 3 in 3 processes: 7, 8, 9"},
		{"many processes", workers, "php-fpm (www-data, php8.2-fpm.service) 60 in 30 processes"},
		{"a program of several users", []string{"2 tcp CLOSE java[7] root", "tcp CLOSE java[8] nobody"}, "java (root) 2; java (nobody) 1"},
		{"the user that it runs as", []string{"tcp CLOSE nginx[7] root runs-as=www-data"}, "nginx (www-data) 1"},
		{"a user that is not known", []string{"tcp CLOSE nginx[7] root runs-as=?", "tcp CLOSE java ?"}, "java 1; nginx (root) 1"},
		{"several processes hold it", []string{"tcp CLOSE helper[5]+java[9] root"}, "helper+java (root) 1 in 2 processes: 5, 9"},
		{"several processes of one name hold it", []string{"2 tcp CLOSE nginx[5]+nginx[9] root"}, "nginx (root) 2 in 2 processes: 5, 9"},
		{"nobody", []string{"tcp CLOSE - -", "5139 tcp CLOSE - root"}, ""},
		{"nobody, but a unit", []string{"tcp CLOSE - root - - unit=tomcat9.service"}, "tomcat9.service (root) 1"},
		{"nobody has some", []string{"tcp CLOSE - -", "tcp CLOSE java[7] root"}, "java (root) 1"},
		{"hidden", []string{"2 tcp CLOSE ? root", "tcp CLOSE ? ?"}, "? (root) 2"},
		{"hidden, of a container", []string{"2 tcp CLOSE ? root - - unit=docker-3f2a1bc0d9e8", "tcp CLOSE ? root - - unit=?"}, "docker-3f2a1bc0d9e8 (root) 2; ? (root) 1"},
		{"harmless names", []string{"tcp CLOSE a:b=c[3] d|e - - unit=f;g"}, "a_b_c (d_e, f_g) 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, _ := replyTo(t, socketsOf(test.sockets...), "-w", "0")
			_, lines, isThere := strings.Cut(output, "tcp CLOSE held by: ")
			if got, _, _ := strings.Cut(lines, "\n"); got != test.want || isThere != (test.want != "") {
				t.Errorf("got %s", output)
			}
		})
	}
}

// A connection that nobody has accepted belongs to the program that listens.
func TestConnectionsThatNobodyHasAcceptedAreTheListeners(t *testing.T) {
	slow := "tcp LISTEN slowapp[7] root 0.0.0.0:8080 - unit=slowapp.service"
	for _, test := range []struct {
		name    string
		sockets []string
		want    string
	}{
		{
			"all of them", []string{slow, "100 tcp CLOSE_WAIT - root 10.0.0.1:8080 10.0.0.9:50000"},
			"slowapp (root, slowapp.service) 100 (100 not accepted)",
		},
		{
			"some of them", []string{slow, "3 tcp CLOSE_WAIT - root 10.0.0.1:8080 10.0.0.9:50000", "2 tcp CLOSE_WAIT slowapp[7] root 10.0.0.1:8080 10.0.0.9:50000 unit=slowapp.service"},
			"slowapp (root, slowapp.service) 5 (3 not accepted)",
		},
		{
			"of a listener with many processes", []string{"tcp LISTEN nginx[1]+nginx[2] root 0.0.0.0:8080", "4 tcp CLOSE_WAIT - root 10.0.0.1:8080 10.0.0.9:50000"},
			"nginx (root) 4 in 2 processes: 1, 2 (4 not accepted)",
		},
		{"of another port", []string{slow, "tcp CLOSE_WAIT - root 10.0.0.1:8081 10.0.0.9:50000"}, ""},
	} {
		output, _ := replyTo(t, socketsOf(test.sockets...), "-w", "close_wait=0")
		_, lines, _ := strings.Cut(output, "tcp CLOSE WAIT held by: ")
		if got, _, _ := strings.Cut(lines, "\n"); got != test.want {
			t.Errorf("%s: got %s", test.name, output)
		}
	}
	waiting := made(socketsOf(slow, "3 tcp ESTABLISHED - - 10.0.0.1:8080 10.0.0.9:50000", "2 tcp SYN_RECV - - 10.0.0.1:8080 10.0.0.9:50000"))
	for arguments, want := range map[string]string{
		"--by process":                           "slowapp: 6",
		"--process slowapp --conn-type tcp":      "tcp ESTABLISHED: 3, tcp SYN RECV: 2, tcp LISTEN: 1",
		"--by process,status --direction in":     "slowapp ESTABLISHED: 3, slowapp SYN RECV: 2",
		"--by unit --conn-status syn_recv":       "slowapp.service: 2",
		"--unit slowapp.service --by direction":  "in: 5, listen: 1",
		"--process not:slowapp --conn-type tcp6": `No connections of type "tcp6" in status "all" with --process not:slowapp found.`,
	} {
		if strings.Contains(arguments, "unit") && thisSystem != "linux" {
			continue
		}
		if output, _ := replyTo(t, waiting, strings.Fields(arguments)...); textOf(output) != want {
			t.Errorf("%s: got %s", arguments, output)
		}
	}
}
