#!/bin/sh
# Builds the conformance suite in its checkout, without its tests and lints: build.sh CHECKOUT
#
#   CHECKOUT/target/fapi-test-suite.jar      the whole suite
#   CHECKOUT/target/without-mdoc             or this, if Maven cannot get the libraries org.multipaz
#
# The suite needs org.multipaz for credentials in the format mdoc (17 of its 4,200 classes), which no plan of FAPI uses. Without
# these libraries, the compiler of Eclipse leaves methods out that need them, and the suite runs from a folder of classes.
#
# JAVA         java, the default; 17 or later. The suite asks for 21, but its sources are those of 17
# MVN, PYTHON  mvn and python3, the defaults
set -eu

suite=$(cd "$1" && pwd)
JAVA=${JAVA:-java}
MVN=${MVN:-mvn}
PYTHON=${PYTHON:-python3}
ECJ=org.eclipse.jdt:ecj:3.40.0

release=$("$JAVA" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
[ "$release" -le 21 ] || release=21
cd "$suite"
mkdir -p target
log=target/carnet-build.log

if "$MVN" -B -q -Djava.version="$release" -Dmaven.test.skip=true -Dpmd.skip=true -Dcheckstyle.skip=true package > "$log" 2>&1; then
    exit 0
fi
grep -q 'org\.multipaz' "$log" || { tail -n 40 "$log" >&2; exit 2; }
echo "Maven cannot get org.multipaz: the suite is built without what needs it" >&2

pom='pom-without-mdoc.xml'
out=target/without-mdoc
rm -rf "$out" target/classes
mkdir -p "$out"
trap 'rm -f "$suite/$pom"' EXIT
# Neither the libraries nor the Kotlin sources, which all need them.
"$PYTHON" - pom.xml > "$pom" << 'END'
import re
import sys

pom = open(sys.argv[1], encoding="utf-8").read()
pom = re.sub(r"<dependency>\s*<groupId>org\.multipaz</groupId>.*?</dependency>", "", pom, flags=re.S)
plugin = r"<plugin>\s*<groupId>org\.jetbrains\.kotlin</groupId>\s*<artifactId>kotlin-maven-plugin</artifactId>.*?</plugin>"
print(re.sub(plugin, "", pom, flags=re.S))
END

maven() {
    "$MVN" -B -q -f "$pom" "$@" >> "$log" 2>&1 || { tail -n 40 "$log" >&2; exit 2; }
}
maven process-resources
maven dependency:build-classpath -Dmdep.outputFile="$suite/$out/classpath" -Dmdep.excludeArtifactIds=spring-boot-devtools
maven dependency:copy -Dartifact="$ECJ" -DoutputDirectory="$suite/$out"
mv target/classes "$out/classes"
"$JAVA" -jar "$out"/ecj-*.jar --release "$release" -proc:none -nowarn -parameters -g -proceedOnError -encoding UTF-8 \
    -cp "$(cat "$out/classpath")" -d "$out/classes" src/main/java > "$out/compiler.log" 2>&1 || true
# The compiler goes on after any error, so look where they are.
sed -n 's/^[0-9]*\. ERROR in \(.*\) (at line.*/\1/p' "$out/compiler.log" | sort -u > "$out/left-out"
while IFS= read -r file; do
    grep -q 'org\.multipaz' "$file" || { echo "$file does not compile: see $suite/$out/compiler.log" >&2; exit 2; }
done < "$out/left-out"
[ -e "$out/classes/net/openid/conformance/Application.class" ] || { tail "$out/compiler.log" >&2; exit 2; }
touch "$out/built"
