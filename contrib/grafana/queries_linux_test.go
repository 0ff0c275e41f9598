package grafana_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// The names are as awkward for a regular expression as names get: the first
// host, taken as a pattern, is also the second, without anchors also the third,
// and the service, taken as a pattern, is not even itself.
var hostNames = []string{"web-1.example.com", "web-1xexample.com", "old.web-1.example.com"}

const (
	service     = "network connections (all/IPv4+6)"
	nrpeService = "sockets through NRPE"
	// secondOrganization and secondToken are those of an InfluxDB 2.
	secondOrganization = "monitoring"
	secondToken        = "secret"
)

// icingaConfiguration has, in this order, the ports of an InfluxDB 1 and 2, the
// hosts, the service, the other service with its only host, and a service that the
// same command asks another host for.
//
// The tags and the measurement are left as the writers have them by default. The
// services through NRPE always give the same numbers.
const icingaConfiguration = `
object InfluxdbWriter "influxdb" {
  host = "127.0.0.1"
  port = %d
  database = "icinga2"
  enable_send_thresholds = true
  flush_interval = 1s
}

object Influxdb2Writer "influxdb2" {
  host = "127.0.0.1"
  port = %d
  organization = "` + secondOrganization + `"
  bucket = "icinga2"
  auth_token = "` + secondToken + `"
  enable_send_thresholds = true
  flush_interval = 1s
}

for (name in [ %s ]) {
  object Host name {
    check_command = "dummy"
    enable_active_checks = false
  }
}

apply Service %q {
  check_command = "network_connections"
  check_interval = 2s
  vars.network_connections_warning = [ "2000", "close_wait=1", "time_wait=300", "total=4000", "limits=80" ]
  vars.network_connections_critical = [ "close_wait=90", "time_wait=900", "total=8000", "limits=95" ]
  assign where true
}

object CheckCommand "nrpe" {
  command = [ "/bin/echo", "$output$" ]
}

apply Service %q {
  check_command = "nrpe"
  check_interval = 2s
  vars.output = "[CRITICAL] - tcp CLOSE WAIT: 1000 [CRITICAL]|tcp_CLOSE_WAIT=1000;11;12;0"
  assign where host.name == %q
}

apply Service "load" {
  check_command = "nrpe"
  check_interval = 2s
  vars.output = "OK|load1=1"
  assign where true
}
`

const influxConfiguration = `
reporting-disabled = true
bind-address = "127.0.0.1:%d"
[meta]
dir = "%[3]s/meta"
[data]
dir = "%[3]s/data"
wal-dir = "%[3]s/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:%[2]d"
log-enabled = false
`

func TestQueriesFindWhatIcingaWrote(t *testing.T) {
	e2e.Need(t, "icinga2-bin icinga2-common influxdb", "icinga2", "influxd")
	e2e.NeedRoot(t)
	plugin := e2e.Plugin(t) // here too, because the network below may not reach missing modules
	if !e2e.OwnNetwork(t) {
		return
	}
	// So few that some connections are a visible percentage.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40999"), 0o644); err != nil {
		t.Fatal(err)
	}
	made := e2e.EveryStatus(t)
	begin := time.Now()
	database := startInflux(t)
	second := serveSecond(t, database)
	startIcinga(t, plugin, database, second)
	for name, database := range map[string]influx{"InfluxDB 1": database, "InfluxDB 2": second} {
		t.Run(name, func(t *testing.T) { queriesFind(t, database, begin, made) })
	}
}

func queriesFind(t *testing.T, database influx, begin time.Time, made map[e2e.Group]int) {
	board, _ := load(t)
	view := &view{t: t, database: database, from: begin.Add(-time.Minute), to: begin.Add(time.Minute), values: map[string][]string{}}
	e2e.WaitFor(t, 30*time.Second, "the results of all checks in InfluxDB", func() bool {
		written := database.query(t, `SELECT last("value") FROM /./ WHERE "metric" = 'tcp_CLOSE_WAIT' GROUP BY "hostname", "service"`)
		return len(written) == len(hostNames)+1
	})

	// The variables offer what there is, each for what was chosen before.
	offered := map[string][]string{}
	for _, variable := range board.Templating.List {
		if variable.Type != "query" {
			continue
		}
		for _, series := range database.query(t, view.expand(variable.Query, "")) {
			for _, row := range series.Values {
				offered[variable.Name] = append(offered[variable.Name], row[1].(string))
			}
		}
		view.values["service"] = []string{service}
	}
	for name, want := range map[string][]string{
		"service":  {service, nrpeService},
		"hostname": slices.Sorted(slices.Values(hostNames)),
	} {
		if got := offered[name]; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("the variable %q offers %q, want %q", name, got, want)
		}
	}

	for _, hosts := range [][]string{hostNames[:1], hostNames[:2]} {
		view.values["hostname"] = hosts
		want := expectations(made, limitLabels(t), hosts)
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				name := panel.Title + "/" + target.RefID
				t.Run(fmt.Sprintf("%d hosts/%s", len(hosts), name), func(t *testing.T) {
					compare(t, view.run(panel, target), want[name])
				})
				if want[name] == nil {
					t.Errorf("nobody says what %s has to find", name)
				}
			}
		}
	}

	t.Run("a service through NRPE", func(t *testing.T) {
		view.values["service"], view.values["hostname"] = []string{nrpeService}, hostNames[:1]
		for _, panel := range board.Panels {
			if panel.Title == "CLOSE_WAIT over time" {
				compare(t, view.run(panel, panel.Targets[0]), series{hostNames[0] + " tcp_CLOSE_WAIT": exactly(1000)})
				compare(t, view.run(panel, panel.Targets[1]), series{hostNames[0] + " tcp_CLOSE_WAIT warning": exactly(11)})
				return
			}
		}
		t.Error("the panel for CLOSE_WAIT is gone")
	})
}

// bounds are the least and the most that a value may be.
type bounds struct{ least, most float64 }

func exactly(value float64) bounds { return bounds{value, value} }

// series has, by the name in the legend, what each of its values may be.
type series map[string]bounds

// expectations says what each query has to find for the hosts, by the title of
// the panel and the refId. InfluxDB and Icinga 2 talk over IPv4 in the same
// network, so that the test's own sockets are not all there.
func expectations(made map[e2e.Group]int, limitLabels, hosts []string) map[string]series {
	total := 0
	groups := func(hosts []string, suffix string, match func(e2e.Group) bool, want func(group e2e.Group, count float64) bounds) series {
		found := series{}
		for group, count := range made {
			for _, host := range hosts {
				if match(group) {
					found[host+" "+group.Type+"_"+group.Status+suffix] = want(group, float64(count))
				}
			}
		}
		return found
	}
	count := func(group e2e.Group, count float64) bounds {
		if strings.HasSuffix(group.Type, "6") {
			return exactly(count)
		}
		return bounds{count, count + 100}
	}
	threshold := func(value float64) func(e2e.Group, float64) bounds {
		return func(e2e.Group, float64) bounds { return exactly(value) }
	}
	status := func(statuses ...string) func(e2e.Group) bool {
		return func(group e2e.Group) bool { return slices.Contains(statuses, group.Status) }
	}
	kind := func(kinds ...string) func(e2e.Group) bool {
		return func(group e2e.Group) bool { return slices.Contains(kinds, group.Type) }
	}
	everything := func(e2e.Group) bool { return true }
	each := func(suffix string, want bounds) series {
		found := series{}
		for _, host := range hosts {
			found[host+suffix] = want
		}
		return found
	}
	for _, count := range made {
		total += count
	}
	ports := bounds{0, 100}
	limits := series{}
	for _, host := range hosts {
		for _, label := range limitLabels {
			limits[host+" "+label] = bounds{0, 100}
		}
	}
	overview := groups(hostNames, "", status("CLOSE_WAIT", "TIME_WAIT", "ESTABLISHED"), count)
	for _, host := range hostNames {
		overview[host+" ephemeral_ports"] = ports
	}
	return map[string]series{
		"CLOSE_WAIT/A":    groups(hosts, "", status("CLOSE_WAIT"), count),
		"TIME_WAIT/A":     groups(hosts, "", status("TIME_WAIT"), count),
		"ESTABLISHED/A":   groups(hosts, "", status("ESTABLISHED"), count),
		"LISTEN/A":        groups(hosts, "", status("LISTEN"), count),
		"All sockets/A":   groups(hosts, "", everything, count),
		"Fullest limit/A": limits,

		"CLOSE_WAIT over time/A": groups(hosts, "", status("CLOSE_WAIT"), count),
		"CLOSE_WAIT over time/B": groups(hosts, " warning", status("CLOSE_WAIT"), threshold(1)),
		"CLOSE_WAIT over time/C": groups(hosts, " critical", status("CLOSE_WAIT"), threshold(90)),
		"TIME_WAIT over time/A":  groups(hosts, "", status("TIME_WAIT"), count),
		"TIME_WAIT over time/B":  groups(hosts, " warning", status("TIME_WAIT"), threshold(300)),
		"TIME_WAIT over time/C":  groups(hosts, " critical", status("TIME_WAIT"), threshold(900)),

		"Limits/A": limits,
		"Limits/B": each(" warning", exactly(80)),
		"Limits/C": each(" critical", exactly(95)),

		"All sockets over time/A": each("", bounds{float64(total), float64(total) + 100}),
		"All sockets over time/B": each(" total warning", exactly(4000)),
		"All sockets over time/C": each(" total critical", exactly(8000)),

		"TCP over IPv4, by status/A": groups(hosts, "", kind("tcp"), count),
		"TCP over IPv6, by status/A": groups(hosts, "", kind("tcp6"), count),
		"UDP/A":                      groups(hosts, "", kind("udp", "udp6"), count),
		"All hosts, latest check/A":  overview,
	}
}

// limitLabels returns the limits that there are here: connection tracking may not
// be in use.
func limitLabels(t *testing.T) (labels []string) {
	t.Helper()
	output, err := exec.Command(e2e.Plugin(t), "--warning=limits=100").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, match := range regexp.MustCompile(`(\w+)=[0-9.]+%`).FindAllStringSubmatch(string(output), -1) {
		labels = append(labels, match[1])
	}
	return labels
}

func compare(t *testing.T, found map[string][]float64, want series) {
	t.Helper()
	if got, want := slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("found %q\nwant  %q", got, want)
	}
	for name, values := range found {
		if len(values) == 0 {
			t.Errorf("%s has no value", name)
		}
		for _, value := range values {
			if bounds := want[name]; value < bounds.least || value > bounds.most {
				t.Errorf("%s is %v, want %v to %v", name, value, bounds.least, bounds.most)
			}
		}
	}
}

// view does what Grafana does with a query before and after it is sent.
type view struct {
	t        *testing.T
	database influx
	from, to time.Time
	values   map[string][]string // what is chosen, by the variable
}

var (
	formattedVariable = regexp.MustCompile(`\$\{(\w+):regex\}`)
	regexCharacters   = regexp.MustCompile(`[\\^$*+?.()|[\]{}/]`)
	aliasTag          = regexp.MustCompile(`\$tag_(\w+)`)
)

// expand puts in the variables and Grafana's own macros.
func (v *view) expand(query, interval string) string {
	v.t.Helper()
	query = formattedVariable.ReplaceAllStringFunc(query, func(use string) string {
		var escaped []string
		for _, value := range v.values[formattedVariable.FindStringSubmatch(use)[1]] {
			escaped = append(escaped, regexCharacters.ReplaceAllString(value, `\$0`))
		}
		if len(escaped) == 1 {
			return escaped[0]
		}
		return "(" + strings.Join(escaped, "|") + ")"
	})
	query = strings.NewReplacer(
		"$timeFilter", fmt.Sprintf("time >= %dms and time <= %dms", v.from.UnixMilli(), v.to.UnixMilli()),
		"$__interval", interval,
	).Replace(query)
	if left := regexp.MustCompile(`\$[\w{]`).FindString(query); left != "" {
		v.t.Fatalf("Grafana would send a %s: %s", left, query)
	}
	return query
}

// run returns all values that the query finds, by the name in the legend, and in
// a table by the tags.
func (v *view) run(panel panel, target target) map[string][]float64 {
	v.t.Helper()
	found := map[string][]float64{}
	for _, series := range v.database.query(v.t, v.expand(target.Query, panel.Interval)) {
		name := aliasTag.ReplaceAllStringFunc(target.Alias, func(tag string) string {
			return series.Tags[aliasTag.FindStringSubmatch(tag)[1]]
		})
		if target.ResultFormat == "table" {
			name = series.Tags["hostname"] + " " + series.Tags["metric"]
		}
		if _, taken := found[name]; taken {
			v.t.Errorf("two series are named %q", name)
		}
		found[name] = nil
		for _, row := range series.Values {
			if value, ok := row[1].(float64); ok { // nil where the interval has none
				found[name] = append(found[name], value)
			}
		}
	}
	return found
}
