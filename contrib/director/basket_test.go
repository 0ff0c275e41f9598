//go:build linux

package director_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"check_network_connections/contrib/e2e"
)

// fieldValues has a value for every field.
var fieldValues = map[string]any{
	"--always-ok":      true,
	"--by":             []string{"process", "remote-port"},
	"--conn-status":    []string{"close_wait", "established"},
	"--conn-type":      []string{"tcp", "udp6"},
	"--critical":       []string{"close_wait=500", "-5:5"},
	"--direction":      []string{"in"},
	"--local-address":  []string{"10.0.0.0/8", "not:10.0.0.5"},
	"--local-port":     []string{"80,443", "not:8000-8100"},
	"--min-idle":       "5m",
	"--netns":          "all",
	"--no-details":     true,
	"--no-perfdata":    true,
	"--process":        []string{"java", "not:two words"},
	"--remote-address": []string{"fd00::/8"},
	"--remote-port":    []string{"5432", "!53"},
	"--source":         "gopsutil",
	"--test":           "out.json,,0",
	"--timeout":        10,
	"--top":            0,
	"--unit":           []string{"nginx.service", "not:ssh.service"},
	"--user":           []string{"NT AUTHORITY\\SYSTEM", "1000"},
	"--verbose":        true,
	"--warning":        []string{"limits=80", "close_wait=50"},
	"--zero":           true,
}

type dataField struct {
	Varname, Caption, Description, Datatype, Category string
	Settings                                          map[string]string
}

type content struct {
	Command map[string]struct {
		Arguments map[string]struct {
			Value string
			SetIf string `json:"set_if"`
		}
		Fields []struct {
			ID int `json:"datafield_id"`
		}
	}
	Datafield       map[string]dataField
	ServiceTemplate map[string]struct{ Vars map[string]any }
}

func read(t *testing.T) (c content) {
	t.Helper()
	if err := json.Unmarshal([]byte(basket), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// The basket has to offer what the program has: an argument for every flag, and a
// data field that explains itself for every argument. But --debug would put what
// it prints in front of the result.
func TestBasketHasEveryFlagAndAFieldForIt(t *testing.T) {
	var flags []string
	for _, flag := range e2e.Flags(t) {
		if flag.Name != "debug" {
			flags = append(flags, "--"+flag.Name)
		}
	}
	slices.Sort(flags)
	content := read(t)
	for name, missing := range map[string][]string{linuxCommand: nil, windowsCommand: linuxOnly} {
		t.Run(name, func(t *testing.T) {
			command := content.Command[name]
			var arguments, wantFields, fields []string
			for argument, is := range command.Arguments {
				arguments = append(arguments, argument)
				wantFields = append(wantFields, variable(argument))
				if macro := "$" + variable(argument) + "$"; is.Value+is.SetIf != macro {
					t.Errorf("%s takes its value from %q, want %q", argument, is.Value+is.SetIf, macro)
				}
			}
			slices.Sort(arguments)
			want := slices.DeleteFunc(slices.Clone(flags), func(flag string) bool { return slices.Contains(missing, flag) })
			if !slices.Equal(arguments, want) {
				t.Errorf("the arguments are not the program's flags\narguments: %v\nflags:     %v", arguments, want)
			}
			for _, field := range command.Fields {
				field := content.Datafield[strconv.Itoa(field.ID)]
				fields = append(fields, field.Varname)
				if field.Caption == "" || field.Description == "" {
					t.Errorf("the field %s does not explain itself", field.Varname)
				}
			}
			slices.Sort(fields)
			slices.Sort(wantFields)
			if !slices.Equal(fields, wantFields) {
				t.Errorf("the fields are not those of the arguments\nfields: %v\nwanted: %v", fields, wantFields)
			}
		})
	}
}

// The Director knows a field by all that it says. One that says something else is
// another field, and the old one stays behind without a command: so a field that
// was released stays as it is. Lists, commands and templates may change.
func TestReleasedFieldsStayAsTheyAre(t *testing.T) {
	var fields []dataField
	if err := json.Unmarshal([]byte(released), &fields); err != nil {
		t.Fatal(err)
	}
	var now []dataField
	for _, field := range read(t).Datafield {
		now = append(now, field)
	}
	for _, field := range fields {
		if !slices.ContainsFunc(now, func(other dataField) bool { return reflect.DeepEqual(field, other) }) {
			t.Errorf("the field %s is gone or another", field.Varname)
		}
	}
}

// The recommended thresholds are those of --help, in a template of their own.
func TestThresholdsAreInTemplatesOfTheirOwn(t *testing.T) {
	templates := read(t).ServiceTemplate
	for _, name := range []string{template, template + "-agent", template + "-windows"} {
		if vars := templates[name].Vars; len(vars) > 0 {
			t.Errorf("%s has %v, want nothing that stands in the way of a service", name, vars)
		}
	}
	list := func(values []string) (all []any) {
		for _, value := range values {
			all = append(all, value)
		}
		return all
	}
	warning, critical := e2e.Recommended(t)
	want := map[string]any{variable("--warning"): list(warning), variable("--critical"): list(critical)}
	if got := templates[template+"-thresholds"].Vars; !reflect.DeepEqual(got, want) {
		t.Errorf("the thresholds are %v, want %v", got, want)
	}
}
