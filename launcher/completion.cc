#include "launcher/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace octet {
namespace {

constexpr const char* kScript = R"(# Completion of octet's commands and flags for bash:  source <(octet completion bash)
_octet() {{
  local word current=${{COMP_WORDS[COMP_CWORD]}} command="" commands flags
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$command/$word" in
      {paths}) command+=/$word ;;
    esac
  done
  case $command in
{cases}  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$commands" -- "$current"))
  fi
}}
complete -o default -F _octet octet
)";

// Adds `app`, whose place in the tree is `path` ("", "/bench", "/bench/generate"), and everything below it.
void add(const CLI::App& app, const std::string& path, std::vector<std::string>& paths, std::string& cases) {
  std::vector<std::string> commands;
  std::vector<std::string> flags;
  for (const CLI::App* sub : app.get_subcommands({})) commands.push_back(sub->get_name());
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  cases += fmt::format("    \"{}\") commands=\"{}\" flags=\"{}\" ;;\n", path, fmt::join(commands, " "),
                       fmt::join(flags, " "));
  for (const CLI::App* sub : app.get_subcommands({})) {
    const std::string sub_path = path + "/" + sub->get_name();
    paths.push_back(sub_path);
    add(*sub, sub_path, paths, cases);
  }
}

}  // namespace

std::string bash_completion(const CLI::App& root) {
  std::vector<std::string> paths;
  std::string cases;
  add(root, "", paths, cases);
  return fmt::format(kScript, fmt::arg("paths", fmt::join(paths, "|")), fmt::arg("cases", cases));
}

}  // namespace octet
