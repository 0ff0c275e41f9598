#!/bin/bash
# Makes icingaweb2.png, the picture in the README: Icinga Web 2 with a service
# that Icinga 2 has checked for some minutes with the program as it is now. The
# sockets are real: an application that serves clients and leaks connections to
# its database, all in network namespaces of their own.
#
# As root on Debian, with Go and these packages:
#   chromium fonts-dejavu-core graphite-carbon graphite-web icinga2-bin
#   icinga2-common icinga2-ido-mysql icingaweb2 icingaweb2-module-graphite
#   icingaweb2-module-monitoring iproute2 libcap2-bin mariadb-server php-cli
#   php-curl php-gd php-intl php-mysql php-xml python3
#
# MINUTES of data are shown: 5 (the default), 10, 15, 30 or 45.
set -euo pipefail
minutes=${MINUTES:-5}

if [ "${1:-}" != inside ]; then
	root=$(cd "$(dirname "$0")/.." && pwd)
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	chmod 755 "$dir"
	(cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$dir/check_network_connections" .)
	# Icinga 2 runs as an ordinary user. This lets it see who holds a socket.
	setcap cap_sys_ptrace,cap_dac_read_search+ep "$dir/check_network_connections"
	# The namespaces take everything with them that is started in them.
	unshare --net --pid --fork --kill-child --mount --mount-proc "$0" inside "$root" "$dir"
	exit
fi
root=$2 dir=$3
cd "$dir"

# wait_for COMMAND... waits until the command succeeds.
wait_for() {
	for _ in $(seq 300); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	echo "waited in vain for: $*" >&2
	tail -n 20 ./*.log >&2
	return 1
}

# What the program sees: the application's host, and the network around it.
ip link set lo up
mount -t tmpfs none /run
ip netns add network
ip link add eth0 type veth peer name eth0 netns network
ip address add 10.0.0.10/24 dev eth0
ip link set eth0 up
echo 40000 40499 >/proc/sys/net/ipv4/ip_local_port_range # few, so that the leak shows in the limits
ip -n network link set lo up
for address in 5 20 21 22; do ip -n network address add 10.0.0.$address/24 dev eth0; done
ip -n network link set eth0 up

cat >traffic <<'END'
#!/usr/bin/python3
import asyncio, math, os, random, sys, time

async def database(reader, writer):
    """Hangs up on whom it has not heard for 20 seconds."""
    try:
        while await asyncio.wait_for(reader.read(100), 20):
            writer.write(b"row")
    except (OSError, asyncio.TimeoutError):
        pass
    writer.close()

async def request(reader, writer):
    await reader.read(100)
    await asyncio.sleep(random.uniform(1, 5))
    writer.write(b"answer")
    if random.random() < 0.8: # the others: let the client hang up first
        await reader.read(100)
    writer.close()

async def query():
    reader, writer = await asyncio.open_connection("10.0.0.5", 5432)
    while True:
        writer.write(b"select")
        await reader.read(100)
        await asyncio.sleep(2)

async def leak(forgotten):
    while True:
        _, writer = await asyncio.open_connection("10.0.0.5", 5432)
        writer.transport.pause_reading()
        forgotten.append(writer)
        await asyncio.sleep(2.5)

async def client():
    source = random.choice(["10.0.0.20", "10.0.0.21", "10.0.0.22"])
    reader, writer = await asyncio.open_connection("10.0.0.10", 8443, local_addr=(source, 0))
    writer.write(b"request")
    await reader.read(100)
    writer.close()

async def main(role):
    if role == "postgres":
        await asyncio.start_server(database, "10.0.0.5", 5432)
    elif role == "orders-api":
        await asyncio.start_server(request, "10.0.0.10", 8443)
        tasks = [asyncio.create_task(query()) for _ in range(8)]
        await leak([])
    tasks = set()
    while True:
        wave = 1 + math.sin(time.time() / 25)
        await asyncio.sleep(random.expovariate(3 + 5 * wave))
        if role == "clients":
            tasks.add(asyncio.create_task(client()))

asyncio.run(main(os.path.basename(sys.argv[0])))
END
chmod 755 traffic
cp traffic postgres
cp traffic orders-api
cp traffic clients
ip netns exec network ./postgres 2>postgres.log &
sleep 1
setpriv --reuid=www-data --regid=www-data --clear-groups ./orders-api 2>orders-api.log &
sleep 1
ip netns exec network ./clients 2>clients.log &

# The database of Icinga Web.
mkdir mariadb
mariadb-install-db --no-defaults --user=root --datadir="$dir/mariadb" --skip-test-db \
	--auth-root-authentication-method=normal >install.log
mariadbd --no-defaults --user=root --datadir="$dir/mariadb" --socket="$dir/mariadb.sock" --skip-networking \
	>mariadb.log 2>&1 &
sql() { mariadb --no-defaults --user=root --socket="$dir/mariadb.sock" "$@"; }
wait_for sql -e 'SELECT 1'
sql -e "CREATE USER icinga@localhost IDENTIFIED BY 'icinga'"
for schema in icinga=/usr/share/icinga2-ido-mysql/schema/mysql.sql icingaweb=/usr/share/icingaweb2/schema/mysql.schema.sql; do
	sql -e "CREATE DATABASE ${schema%%=*}; GRANT ALL ON ${schema%%=*}.* TO icinga@localhost"
	sql "${schema%%=*}" <"${schema#*=}"
done

# The performance data, every five seconds.
mkdir carbon whisper graphite
cat >carbon/carbon.conf <<END
[cache]
STORAGE_DIR = $dir/carbon
LOCAL_DATA_DIR = $dir/whisper
CONF_DIR = $dir/carbon
LOG_DIR = $dir/carbon
PID_DIR = $dir/carbon
USER =
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = 2003
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = 2004
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = 7002
MAX_CREATES_PER_MINUTE = inf
ENABLE_TAGS = False
END
printf '[all]\npattern = .*\nretentions = 5s:1h\n' >carbon/storage-schemas.conf
carbon-cache --config="$dir/carbon/carbon.conf" --nodaemon start >carbon.log 2>&1 &
cat >graphite/graphite_settings.py <<END
SECRET_KEY = "for one picture"
STORAGE_DIR = "$dir/whisper"
WHISPER_DIR = "$dir/whisper"
LOG_DIR = "$dir/graphite"
INDEX_FILE = "$dir/graphite/index"
CARBONLINK_HOSTS = ["127.0.0.1:7002"]
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"NAME": "$dir/graphite/graphite.db", "ENGINE": "django.db.backends.sqlite3"}}
END
export PYTHONPATH=$dir/graphite GRAPHITE_SETTINGS_MODULE=graphite_settings DJANGO_SETTINGS_MODULE=graphite.settings
{
	/usr/bin/python3 -m django migrate --run-syncdb
	exec /usr/bin/python3 -m django runserver --noreload --insecure 127.0.0.1:8081
} >graphite.log 2>&1 &
wait_for bash -c '</dev/tcp/127.0.0.1/2003'

# Icinga 2, with the definitions that users get.
mkdir -p icinga2/{data,log,cache,spool,run}
cat >icinga2.conf <<END
const PluginDir = "$dir"
const PluginContribDir = "$dir"
const NodeName = "icinga"
include <itl>
include <plugins>
include "$root/contrib/icinga2/network_connections.conf"
object IcingaApplication "app" { }
object CheckerComponent "checker" { }
object IdoMysqlConnection "ido" {
  socket_path = "$dir/mariadb.sock"
}
object GraphiteWriter "graphite" {
  host = "127.0.0.1"
  enable_send_thresholds = true
}
object Host "app01" {
  check_command = "dummy"
  vars.dummy_text = "up"
  check_interval = 5s
}
object Service "network-connections" {
  host_name = "app01"
  check_command = "network_connections"
  check_interval = 5s
  retry_interval = 5s
  vars.network_connections_warning = [ "close_wait=50", "limits=80" ]
  vars.network_connections_critical = [ "close_wait=500", "limits=95" ]
}
END
chown -R nagios icinga2
icinga2 daemon -c "$dir/icinga2.conf" -D DataDir="$dir/icinga2/data" -D LogDir="$dir/icinga2/log" \
	-D CacheDir="$dir/icinga2/cache" -D SpoolDir="$dir/icinga2/spool" -D InitRunDir="$dir/icinga2/run" \
	>icinga2.log 2>&1 &

# Icinga Web 2: no login, a graph for what matters here, and that of the limits.
mkdir -p web/enabledModules web/modules/{monitoring,graphite/templates} php
cat >web/config.ini <<END
[global]
config_resource = "icingaweb"
module_path = "/usr/share/icingaweb2/modules"
[logging]
log = "file"
file = "$dir/icingaweb.log"
level = "ERROR"
END
for database in icinga icingaweb; do
	cat <<-END
		[$database]
		type = "db"
		db = "mysql"
		host = "localhost"
		dbname = "$database"
		username = "icinga"
		password = "icinga"
		charset = "utf8mb4"
	END
done >web/resources.ini
printf '[external]\nbackend = "external"\n' >web/authentication.ini
printf '[all]\nusers = "admin"\npermissions = "*"\n' >web/roles.ini
printf '[ido]\ntype = "ido"\nresource = "icinga"\n' >web/modules/monitoring/backends.ini
printf '[icinga2]\ntransport = "local"\npath = "%s/icinga2/run/cmd"\n' "$dir" >web/modules/monitoring/commandtransports.ini
printf '[graphite]\nurl = "http://127.0.0.1:8081"\n' >web/modules/graphite/config.ini
{
	cat <<-END
		[statuses.graph]
		check_command = "network_connections"
		[statuses.urlparams]
		title = "Connections by status"
		lineWidth = "2"
		min = "0"
		width = "740"
		height = "240"
		[statuses.metrics_filters]
		established.value = "\$service_name_template\$.perfdata.tcp_ESTABLISHED.value"
		time_wait.value = "\$service_name_template\$.perfdata.tcp_TIME_WAIT.value"
		close_wait.value = "\$service_name_template\$.perfdata.tcp_CLOSE_WAIT.value"
		warning.value = "\$service_name_template\$.perfdata.tcp_CLOSE_WAIT.warn"
		[statuses.functions]
		established.value = "alias(color(\$metric\$, '#1a7dd7'), 'tcp ESTABLISHED')"
		time_wait.value = "alias(color(\$metric\$, '#999999'), 'tcp TIME WAIT')"
		close_wait.value = "alias(color(\$metric\$, '#ff5566'), 'tcp CLOSE WAIT')"
		warning.value = "alias(dashed(color(\$metric\$, '#ffaa44')), 'CLOSE WAIT warning')"
	END
	sed -n '/^\[network_connections-limits\./,/^$/p' "$root/contrib/icingaweb2/network_connections_graphite.ini" |
		sed 's/^title = .*/&\nwidth = "740"\nheight = "240"/'
} >web/modules/graphite/templates/network_connections.ini
echo "pdo_mysql.default_socket = $dir/mariadb.sock" >php/socket.ini
cat >router.php <<'END'
<?php
if (is_file('/usr/share/icingaweb2/public' . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH))) {
    return false;
}
$_SERVER['REMOTE_USER'] = 'admin';
$_SERVER['SCRIPT_NAME'] = '/index.php';
$_SERVER['SCRIPT_FILENAME'] = '/usr/share/icingaweb2/public/index.php';
require '/usr/share/icingaweb2/public/index.php';
END
export ICINGAWEB_CONFIGDIR=$dir/web PHP_INI_SCAN_DIR=:$dir/php PHP_CLI_SERVER_WORKERS=4
for module in monitoring graphite; do icingacli module enable $module; done >modules.log 2>&1
php -S 127.0.0.1:8080 -t /usr/share/icingaweb2/public router.php >php.log 2>&1 &

sleep $((minutes * 60 + 10))

url="http://127.0.0.1:8080/monitoring/service/show?host=app01&service=network-connections&showFullscreen&graph_range=$((minutes * 60))"
HOME=$dir chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
	--window-size=770,860 --virtual-time-budget=20000 --screenshot="$dir/icingaweb2.png" "$url" >chromium.log 2>&1
cp icingaweb2.png "$root/docs/icingaweb2.png"
