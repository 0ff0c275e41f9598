package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Icinga is an Icinga 2 that keeps all its files to a folder of its own and is
// asked through its API, which every version has.
type Icinga struct {
	Name   string // of the node
	Folder string
	Port   int // of the API, on 127.0.0.1

	t      testing.TB
	owner  *user.User
	client *http.Client
}

// NewIcinga returns an Icinga 2 that does not run yet. Those that are to know
// each other have the same authority.
func NewIcinga(t testing.TB, authority *Authority, name string) *Icinga {
	t.Helper()
	NeedRoot(t)
	Need(t, "icinga2-bin icinga2-common", "icinga2")
	// Icinga 2 started by root goes on as this user.
	owner, err := user.Lookup("nagios")
	if err != nil {
		Skip(t, "the user nagios is missing: apt-get install icinga2-common")
	}
	i := &Icinga{Name: name, Folder: Folder(t), Port: FreePort(t), t: t, owner: owner}
	for _, folder := range []string{"cache", "log", "plugins", "run", "spool", "zones.d"} {
		i.mkdir(i.Path(folder))
	}
	certificate, key := authority.issue(t, name)
	i.Write("data/certs/ca.crt", string(authority.certificate))
	i.Write("data/certs/"+name+".crt", certificate)
	i.Write("data/certs/"+name+".key", key)
	i.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authority.pool(), ServerName: name}}}
	return i
}

// Path returns the path of a file in the folder.
func (i *Icinga) Path(name string) string { return filepath.Join(i.Folder, name) }

func (i *Icinga) mkdir(path string) {
	i.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		i.t.Fatal(err)
	}
	for ; path != i.Folder; path = filepath.Dir(path) {
		i.own(path)
	}
}

func (i *Icinga) own(path string) {
	i.t.Helper()
	uid, _ := strconv.Atoi(i.owner.Uid)
	gid, _ := strconv.Atoi(i.owner.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		i.t.Fatal(err)
	}
}

// Write writes a file that Icinga 2 can read and execute, and returns its path.
func (i *Icinga) Write(name, content string) string {
	i.t.Helper()
	path := i.Path(name)
	i.mkdir(filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		i.t.Fatal(err)
	}
	i.own(path)
	return path
}

// arguments adds the folders to a command line of icinga2.
func (i *Icinga) arguments(line ...string) []string {
	for constant, folder := range map[string]string{
		"CacheDir": "cache", "DataDir": "data", "InitRunDir": "run", "LogDir": "log", "SpoolDir": "spool", "ZonesDir": "zones.d",
	} {
		line = append(line, "--define", constant+"="+i.Path(folder))
	}
	return line
}

// Start validates a configuration and runs it until the test ends. The node,
// its API and the zone "master" are there already, unless the configuration has
// a zone of its own.
func (i *Icinga) Start(config string) {
	i.t.Helper()
	api := fmt.Sprintf(`
include <itl>
const NodeName = %q
object CheckerComponent "checker" {}
object ApiUser "test" {
	password = "test"
	permissions = [ "*" ]
}
object ApiListener "api" {
	bind_host = "127.0.0.1"
	bind_port = %d
	accept_config = true
	accept_commands = true
}
`, i.Name, i.Port)
	if !strings.Contains(config, "object Zone") {
		config += `
if (!globals.contains("ZoneName")) {
	const ZoneName = "master"
}
object Endpoint NodeName {}
object Zone ZoneName { endpoints = [ NodeName ] }
`
	}
	file := i.Write("icinga2.conf", api+config)
	Run(i.t, "icinga2", i.arguments("daemon", "--validate", "--config", file)...)
	Start(i.t, exec.Command("icinga2", i.arguments("daemon", "--config", file)...))
	WaitFor(i.t, 30*time.Second, "the API of "+i.Name, func() bool { return i.services() != nil })
}

// Services returns the results by host!service as soon as that many services
// have been checked.
func (i *Icinga) Services(count int) map[string]map[string]string {
	i.t.Helper()
	var services map[string]map[string]string
	WaitFor(i.t, time.Minute, "the results of the checks", func() bool {
		services = i.services()
		return len(services) >= count
	})
	return services
}

// Service returns the result of a service as soon as the plugin itself has given
// one: until then the output is Icinga's. An agent that gets new configuration
// starts again and forgets what it was asked, so it is asked again.
func (i *Icinga) Service(name string) map[string]string {
	i.t.Helper()
	var service map[string]string
	asked := time.Now()
	WaitFor(i.t, 2*time.Minute, "a result of "+name, func() bool {
		if time.Since(asked) > 3*time.Second {
			asked = time.Now()
			if response := i.ask(http.MethodPost, "actions/reschedule-check?force=true&service="+url.QueryEscape(name)); response != nil {
				_ = response.Body.Close()
			}
		}
		service = i.services()[name]
		return strings.HasPrefix(service["plugin_output"], "[")
	})
	return service
}

// ask asks the API, and returns nil while it does not answer.
func (i *Icinga) ask(method, what string) *http.Response {
	i.t.Helper()
	request, err := http.NewRequest(method, fmt.Sprintf("https://127.0.0.1:%d/v1/%s", i.Port, what), nil)
	if err != nil {
		i.t.Fatal(err)
	}
	request.SetBasicAuth("test", "test")
	request.Header.Set("Accept", "application/json")
	response, err := i.client.Do(request)
	if err != nil {
		return nil
	}
	return response
}

// services returns the same fields as Services reads from a status file, and nil
// while the API does not answer.
func (i *Icinga) services() map[string]map[string]string {
	i.t.Helper()
	response := i.ask(http.MethodGet, "objects/services?attrs=last_check_result")
	if response == nil {
		return nil
	}
	defer response.Body.Close()
	var answer struct {
		Results []struct {
			Name  string
			Attrs struct {
				Result *struct {
					State    float64
					Output   string
					Perfdata []string `json:"performance_data"`
				} `json:"last_check_result"`
			}
		}
	}
	if json.NewDecoder(response.Body).Decode(&answer) != nil {
		return nil
	}
	services := map[string]map[string]string{}
	for _, service := range answer.Results {
		if result := service.Attrs.Result; result != nil {
			first, long, _ := strings.Cut(result.Output, "\n")
			services[service.Name] = map[string]string{
				"current_state":      strconv.Itoa(int(result.State)),
				"plugin_output":      first,
				"long_plugin_output": strings.ReplaceAll(long, "\n", `\n`),
				"performance_data":   strings.Join(result.Perfdata, " "),
			}
		}
	}
	return services
}

// Authority signs the certificates of the nodes of one test.
type Authority struct {
	certificate []byte
	template    *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{template: certificateFor("Icinga CA"), key: newKey(t)}
	a.template.IsCA, a.template.BasicConstraintsValid, a.template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.certificate = a.sign(t, a.template, a.key)
	return a
}

func (a *Authority) issue(t testing.TB, name string) (certificate, key string) {
	t.Helper()
	template, secret := certificateFor(name), newKey(t)
	template.DNSNames = []string{name}
	encoded, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.sign(t, template, secret)), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func (a *Authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.certificate)
	return pool
}

func (a *Authority) sign(t testing.TB, template *x509.Certificate, owner *ecdsa.PrivateKey) []byte {
	t.Helper()
	encoded, err := x509.CreateCertificate(rand.Reader, template, a.template, &owner.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encoded})
}

func certificateFor(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
