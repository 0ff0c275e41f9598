#!/bin/sh
# An upgrade replaces the plugin. Owner, mode and capabilities that the
# administrator gave to it are kept on an empty file, for after.sh to put back.
set -e
plugin=/usr/lib/nagios/plugins/check_network_connections
kept=$plugin.kept
if [ -f "$plugin" ] && [ ! -L "$plugin" ]; then
	rm -f "$kept"
	cp --attributes-only --preserve=mode,ownership,xattr "$plugin" "$kept" ||
		echo "check_network_connections: owner, mode and capabilities of $plugin are not kept" >&2
fi
