#!/bin/sh
# Fail, saying what to do, unless Java 17 or later is here: Spark and Flink run on it, and no Python wheel carries one.
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${version:-0}" -ge 17 ] && exit 0
echo "Java 17 or later is needed; '$java' says: ${version:-nothing}." >&2
echo "Install one (on Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME to it." >&2
exit 2
